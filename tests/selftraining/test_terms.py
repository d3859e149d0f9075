"""Terms: the feature distance by hand, its frozen encoder, and normalised entropy."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from uda.selftraining import EntropyMinimisation, FeatureDistance, Term
from uda.structures import Batch, Labelled, Mixed, NetworkOutput, PseudoLabel, Unlabelled


class Constant(nn.Module):
    """An encoder whose coarsest map is the image's mean colour times a weight, at stride 4."""

    def __init__(self, weight: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Fine and coarse map."""
        return image, self.weight * nn.functional.avg_pool2d(image, 4)


class Student(nn.Module):
    """A network with an `encoder()`."""

    def __init__(self, weight: float = 0.0) -> None:
        super().__init__()
        self.body = Constant(weight)

    def encoder(self) -> nn.Module:
        """The encoder itself."""
        return self.body


def source(label: Tensor) -> Labelled:
    """White images for a label (N, H, W)."""
    return Labelled(torch.ones(label.shape[0], 3, *label.shape[1:]), label)


def test_feature_distance_values() -> None:
    """Two blocks of 4x4: class 1 (wanted) and class 0. Features (3, 4, 0) and (6, 8, 0) from 0.

    Norms 5 and 10: only class 1 gives 0.1 * 5, both positions 0.1 * 7.5.
    """
    label = torch.cat([torch.ones(1, 4, 4), torch.zeros(1, 4, 4)], 2).long()
    maps = torch.tensor([[3.0, 6.0], [4.0, 8.0], [0.0, 0.0]]).view(1, 3, 1, 2)
    output = NetworkOutput(torch.zeros(1, 2, 4, 8), (maps,))
    for classes, wanted in (((1,), 0.5), (None, 0.75), ((0, 1), 0.75)):
        term = FeatureDistance(num_classes=2, encoder=Constant(), classes=classes, weight=0.1)
        assert term.source_loss(output, source(label)).item() == pytest.approx(wanted)


def test_feature_distance_mask_values() -> None:
    """12 of 16 pixels hold a block at 0.75, 11 do not; ignored blocks never count."""
    label = torch.zeros(1, 4, 12, dtype=torch.int64)
    label[0, :3, :4] = 1
    label[0, :3, 4:8] = 1
    label[0, 0, 4] = 255
    label[0, :, 8:] = 255
    term = FeatureDistance(num_classes=2, encoder=Constant(), classes=(1,))
    assert term.mask(label, torch.zeros(1, 1, 3)).tolist() == [[[True, False, False]]]


def test_feature_distance_of_nothing_grad() -> None:
    """No wanted class in the batch: 0, with exactly zero gradient."""
    features = torch.randn(1, 3, 1, 1, requires_grad=True)
    output = NetworkOutput(torch.zeros(1, 2, 4, 4), (features,))
    term = FeatureDistance(num_classes=2, encoder=Constant(), classes=(1,))
    loss = term.source_loss(output, source(torch.zeros(1, 4, 4, dtype=torch.int64)))
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert features.grad.abs().max() == 0


def test_feature_distance_bind_values() -> None:
    """`bind` freezes the encoder as it is then: later changes of the student leave it."""
    student = Student(2.0)
    term = FeatureDistance(num_classes=2, classes=None)
    term.bind(student)
    nn.init.constant_(student.body.weight, 5.0)
    assert term.encoder is not None
    assert term.encoder.weight.item() == 2
    assert not any(p.requires_grad for p in term.parameters())
    assert student.body.weight.requires_grad
    term.train()
    assert not any(module.training for module in term.encoder.modules())
    assert any(name.startswith("encoder.") for name in term.state_dict())
    term.bind(student)  # initialised once more: the newest weights
    assert term.encoder.weight.item() == 5


def test_feature_distance_given_encoder_values() -> None:
    """An encoder that was passed stays, whatever is bound."""
    term = FeatureDistance(num_classes=2, encoder=Constant(3.0), classes=None)
    term.bind(Student(1.0))
    assert term.encoder is not None
    assert term.encoder.weight.item() == 3


def test_feature_distance_errors() -> None:
    """Unknown classes, shares, no encoder to copy, and use before `bind` are named."""
    with pytest.raises(ValueError, match=r"classes \[11, -1\] are not in 0..10"):
        FeatureDistance(num_classes=11, classes=(0, 11, -1))
    with pytest.raises(ValueError, match=r"min_share has to lie in \[0, 1\], not 75"):
        FeatureDistance(num_classes=2, classes=None, min_share=75)
    term = FeatureDistance(num_classes=2, classes=None)
    with pytest.raises(TypeError, match="Conv2d has no `encoder"):
        term.bind(nn.Conv2d(3, 2, 1))
    output = NetworkOutput(torch.zeros(1, 2, 4, 4), (torch.zeros(1, 3, 1, 1),))
    with pytest.raises(RuntimeError, match=r"no frozen encoder yet: call `bind\(student\)`"):
        term.source_loss(output, source(torch.zeros(1, 4, 4, dtype=torch.int64)))


def entropy_of(logits: Tensor, weight: float = 1.0) -> Tensor:
    """The loss of `EntropyMinimisation` for a student that returns `logits`."""
    image = torch.zeros(len(logits), 3, *logits.shape[2:])
    label = torch.zeros(len(logits), *logits.shape[2:])
    batch = Batch(Labelled(image, label.long()), Unlabelled(image))
    term = EntropyMinimisation(weight=weight)
    (only,) = term.passes(
        lambda _: NetworkOutput(logits), batch, PseudoLabel(label.long(), label, label)
    )
    assert only.name == "target"
    return only.losses["entropy"]


def test_entropy_minimisation_values() -> None:
    """Probabilities 1/4, 3/4: `(log 4 - 3/4 log 3) / log 2` times the weight."""
    logits = torch.tensor([0.0, math.log(3)]).view(1, 2, 1, 1)
    wanted = 0.001 * (math.log(4) - 0.75 * math.log(3)) / math.log(2)
    assert entropy_of(logits, 0.001).item() == pytest.approx(wanted)


@settings(deadline=None, max_examples=50)
@given(classes=st.integers(2, 19), seed=st.integers(0, 1000), scale=st.floats(0, 100))
def test_entropy_minimisation_properties(classes: int, seed: int, scale: float) -> None:
    """In [0, 1] for any number of classes; 1 for equal logits."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(2, classes, 3, 3, generator=generator)
    assert 0 <= entropy_of(logits).item() <= 1 + 1e-6
    assert entropy_of(0 * logits).item() == pytest.approx(1)


def test_entropy_minimisation_grad() -> None:
    """gradcheck in float64."""
    logits = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(entropy_of, (logits,))


def test_entropy_minimisation_errors() -> None:
    """A batch without target images is refused."""
    label = torch.zeros(1, 2, 2)
    batch = Batch(Labelled(torch.zeros(1, 3, 2, 2), label.long()))
    passes = EntropyMinimisation().passes(
        NetworkOutput, batch, PseudoLabel(label.long(), label, label)
    )
    with pytest.raises(ValueError, match="EntropyMinimisation needs target images"):
        next(passes)


def test_term_values() -> None:
    """A term that overrides nothing adds nothing anywhere."""
    image, label = torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long()
    output, weight = NetworkOutput(image), label.float()
    term = Term()
    term.bind(nn.Identity())
    assert term.source_loss(output, Labelled(image, label)) is None
    assert term.mixed_loss(output, Mixed(image, label, weight, label.bool())) is None
    pseudo = PseudoLabel(label, weight, weight)
    assert list(term.passes(lambda _: output, Batch(Labelled(image, label)), pseudo)) == []
