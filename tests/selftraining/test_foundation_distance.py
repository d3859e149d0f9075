"""The feature distance of VFM-UDA++: hand-derived values, its passes, its projection, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from uda.losses import smooth_cosine_distance
from uda.selftraining import FeatureDistance, NoView
from uda.selftraining.map_projection import MapProjection
from uda.structures import Batch, Labelled, NetworkOutput, PseudoLabel, Unlabelled


class Shrink(nn.Module):
    """A map of the image's own channels at a quarter of its size."""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Average pooling."""
        return (nn.functional.avg_pool2d(image, 4),)


class Student(nn.Module):
    """A network that counts its passes; its coarsest map is the image, shrunk."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def build_encoder(self, config: Any) -> nn.Module:
        """The encoder a config asks for."""
        self.asked = config
        return Shrink()

    def forward(self, image: Tensor) -> NetworkOutput:
        """Logits of no use, and one map."""
        self.seen.append(image)
        return NetworkOutput(torch.zeros(len(image), 2, 8, 8), Shrink()(image))


def batch() -> Batch:
    """One source and one target image."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 1, 3, 8, 8, generator=generator)
    label = torch.zeros(1, 8, 8, dtype=torch.int64)
    return Batch(Labelled(images[0], label), Unlabelled(images[1]))


def pseudo() -> PseudoLabel:
    """None that matters."""
    return PseudoLabel(torch.zeros(1, 8, 8).long(), torch.zeros(1, 8, 8), torch.zeros(1, 8, 8))


def make(**arguments: Any) -> FeatureDistance:
    """The term with the encoder above and no classes."""
    given = {"encoder": Shrink(), "classes": None, "measure": "smooth_cosine", **arguments}
    return FeatureDistance(num_classes=2, **given)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_smooth_cosine_properties(seed: int, share: float) -> None:
    """0 for equal maps; at most 2 (1 - share) and the smooth L1 distance."""
    torch.manual_seed(seed)
    features, reference = torch.randn(2, 1, 5, 3, 3).double()
    assert smooth_cosine_distance(features, features, share=share).abs().max() < 1e-6
    found = smooth_cosine_distance(features, reference, share=share)
    smooth = nn.functional.smooth_l1_loss(features, reference, reduction="none").mean(1)
    assert (found >= share * smooth - 1e-6).all()
    assert (found <= share * smooth + 2 * (1 - share) + 1e-6).all()


def test_smooth_cosine_grad() -> None:
    """In double precision."""
    torch.manual_seed(0)
    features, reference = torch.randn(2, 1, 3, 2, 2).double()
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda f: smooth_cosine_distance(f, reference), (features,))


def test_passes_values() -> None:
    """With a view each domain has a pass of its own; equal features give 0 in both."""
    student, term = Student(), make(domains=("source", "target"), view=NoView(), weight=0.1)
    found = list(term.passes(student, batch(), pseudo()))
    assert [one.name for one in found] == ["feature_source", "feature_target"]
    assert all(one.losses["feature_distance"].abs() < 1e-6 for one in found)
    assert torch.equal(student.seen[0], batch().source.image)
    assert term.source_loss(student(batch().source.image), batch().source) is None


def test_source_pass_values() -> None:
    """Without a view the source distance joins the source pass, and only the target has its own."""
    student, term = Student(), make(domains=("source", "target"))
    given = batch()
    output = student(given.source.image)
    assert term.source_loss(output, given.source) is not None
    assert [one.name for one in term.passes(student, given, pseudo())] == ["feature_target"]
    alone = make(domains=("target",))
    assert alone.source_loss(output, given.source) is None
    assert list(alone.passes(student, Batch(given.source), pseudo())) == []


def test_weight_and_size_values() -> None:
    """Opposite features have cosine -1: 2 * 0.9 * weight, beside the smooth L1 part.

    Features are 1 in three channels, the reference -1: smooth L1 of 2 is 1.5, so 0.15 + 1.8.
    """
    term = make(weight=0.5, size=(4, 4))
    output = NetworkOutput(torch.zeros(0), (torch.ones(1, 3, 1, 1),))
    loss = term.loss(output, -torch.ones(1, 3, 8, 8))
    assert loss.item() == pytest.approx(0.5 * (0.1 * 1.5 + 0.9 * 2))


def test_projection_values() -> None:
    """It learns with the student, under the term's name, and brings map and size to the frozen."""
    term = make(projection=(3, 3))
    assert list(term.heads()) == ["feature_distance"]
    assert make().heads() == {}
    loss = term.loss(
        NetworkOutput(torch.zeros(0), (torch.randn(1, 3, 5, 5),)), torch.rand(1, 3, 8, 8)
    )
    loss.backward()
    assert all(p.grad is not None for p in term.heads()["feature_distance"].parameters())
    assert MapProjection(3, 6)(torch.zeros(2, 3, 5, 5), (2, 4)).shape == (2, 6, 2, 4)


def test_configured_encoder_values() -> None:
    """A config's encoder is made by the student, once, and frozen."""
    config = {"type": "FoundationEncoder", "name": "vit_tiny_patch16_224"}
    student, term = Student(), make(encoder=config)
    term.bind(student)
    first = term.encoder
    term.bind(student)
    assert term.encoder is first
    assert student.asked == config


WRONG = [
    ({"measure": "l1"}, 'measure has to be "l2" or "smooth_cosine"'),
    ({"domains": ("mixed",)}, 'domains name "source", "target" or both'),
    ({"domains": ()}, 'domains name "source", "target" or both'),
    ({"domains": ("target",), "classes": [1]}, "target images have no labels to find classes in"),
    ({"projection": (0, 3)}, "at least 1 channel on each side"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_feature_distance_errors(arguments: dict[str, Any], message: str) -> None:
    """Each wrong setting is told."""
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_use_errors() -> None:
    """A student that cannot build, and a map of another width."""
    with pytest.raises(TypeError, match=r"Linear has no `build_encoder\(\)`"):
        make(encoder={"type": "X"}).bind(nn.Linear(1, 1))
    with pytest.raises(ValueError, match="has 3 channels, not 5: set the first number of"):
        make(projection=(5, 3)).loss(
            NetworkOutput(torch.zeros(0), (torch.zeros(1, 3, 2, 2),)), torch.zeros(1, 3, 8, 8)
        )
