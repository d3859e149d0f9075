"""PiPa's two terms: what is contrasted, where the gradient goes, what the memory holds."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.selftraining import EMATeacher, PatchContrast, PixelContrast
from uda.selftraining.terms import Pass
from uda.structures import Batch, Labelled, NetworkOutput, PseudoLabel, Unlabelled


class Network(nn.Module):
    """Features are the image times a weight, averaged over 2x2; logits its first two channels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, image: Tensor) -> NetworkOutput:
        """Confident logits at the size of the image."""
        features = self.weight * image
        return NetworkOutput(20 * features[:, :2], (nn.functional.avg_pool2d(features, 2),))


def source() -> Labelled:
    """Left half class 0 and red, right half class 1 and green; a quarter of a row is ignored."""
    image = torch.zeros(1, 3, 8, 8)
    image[:, 0, :, :4] = 1
    image[:, 1, :, 4:] = 1
    label = torch.zeros(1, 8, 8, dtype=torch.int64)
    label[:, :, 4:] = 1
    label[:, :2, :2] = 255
    return Labelled(image, label)


def identity(projection: nn.Module) -> None:
    for layer in projection.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


def pixel(**changes: Any) -> PixelContrast:
    settings: dict[str, Any] = {
        "num_classes": 2,
        "channels": (3,),
        "levels": (0,),
        "size": 3,
        "norm": False,
        "temperature": 1.0,
        "base_temperature": 1.0,
        "weight": 0.5,
        "min_pixels": 4,
    }
    made = PixelContrast(**{**settings, **changes})
    identity(made.projection)
    return made


def test_pixel_term_values() -> None:
    """All of one class at e, m of the other at 1: 0.5 log(1 + m / e), with m = 3 anchors a class.

    Labels are those of 4x4 positions: 7 pixels of class 0, 8 of class 1.
    """
    found = pixel(per_class=3).source_loss(Network()(source().image), source())
    assert found.item() == pytest.approx(0.5 * math.log(1 + 3 / math.e))
    assert found.requires_grad
    too_few = pixel(min_pixels=8).source_loss(Network()(source().image), source())
    assert too_few.item() == 0


def test_pixel_term_grad() -> None:
    """The gradient reaches the projection and the student."""
    made, network = pixel(), Network()
    image = source().image + 0.1 * torch.rand(1, 3, 8, 8)
    made.source_loss(network(image), source()).backward()
    assert network.weight.grad is not None
    assert network.weight.grad.abs().max() > 0
    assert all(p.grad is not None for p in made.heads()["pixel_contrast"].parameters())


def test_pixel_term_errors() -> None:
    with pytest.raises(ValueError, match="temperatures have to be above 0, not 0 and 1.0"):
        pixel(temperature=0)
    with pytest.raises(ValueError, match="have to be at least 2 and min_pixels at least 0, not 1"):
        pixel(anchors=1)


def patch(**changes: Any) -> PatchContrast:
    settings: dict[str, Any] = {
        "channels": (3,),
        "levels": (0,),
        "hidden": 3,
        "size": 3,
        "pool": 1,
        "weight": 0.5,
        "temperature": 1.0,
        "samples": 5,
        "memory": 1,
        "stride": 2,
        "start": 0,
    }
    made = PatchContrast(**{**settings, **changes})
    identity(made.projection)
    return made


def nothing(image: Tensor) -> PseudoLabel:
    zeros = torch.zeros_like(image[:, 0])
    return PseudoLabel(zeros.long(), zeros, zeros)


def run(
    made: PatchContrast, network: nn.Module, image: Tensor, valid: Tensor | None = None
) -> list[Pass]:
    batch = Batch(source(), Unlabelled(image, valid))
    return list(made.passes(network, batch, nothing(image)))


def target(seed: int = 0) -> Tensor:
    """Random images whose first channel leads here and the second there."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 8, 8, generator=generator)


class Brighter(nn.Module):
    """A view that makes the first window surer than the second."""

    calls = 0

    def forward(self, image: Tensor) -> Tensor:
        """Full contrast at first, then half of it."""
        self.calls += 1
        return image if self.calls % 2 else image / 2


def test_patch_term_values() -> None:
    """Of two windows the second is less sure: its places count, those of the first do not.

    Red images: the positive is e; the one negative each place has is of the same label: loss 0.
    With another label in the memory, at 1: log(1 + 1 / e), times the weight.
    """
    red = torch.zeros(1, 3, 8, 8)
    red[:, 0] = 1
    made = patch(view=Brighter(), samples=1, memory=1, window=1.0)
    (done,) = run(made, Network(), red)
    assert done.losses["patch_contrast"].item() == pytest.approx(0, abs=1e-6)
    assert done.metrics["places"].item() == 50
    made.bank[0, 0], made.bank_label[0] = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1, 255])
    (done,) = run(made, Network(), red)
    wanted = 0.5 * math.log(1 + 1 / math.e)
    assert done.losses["patch_contrast"].item() == pytest.approx(wanted)


def test_places_line_up() -> None:
    """Whatever windows are drawn and mirrored, a place meets itself in the other window."""
    image = target()
    for seed in range(20):
        torch.manual_seed(seed)
        made = patch(window=0.6)
        found: list[Tensor] = []
        made._side = lambda own, other, found=found: (  # type: ignore[method-assign, misc]
            found.append(own.features - other.features) or own.features.sum(),
            own.inside,
        )
        run(made, Network(), image)
        assert len(found) == 2
        assert found[0].abs().max() < 1e-6


def test_patch_gradient() -> None:
    """ "student" (clean): it learns; "projection" (reference): the projection alone does."""
    for gradient, learns in (("student", True), ("projection", False)):
        made, network = patch(gradient=gradient, threshold=0.0, view=Brighter()), Network()
        made.join_teacher(EMATeacher(Network()))
        torch.manual_seed(0)
        (done,) = run(made, network, target())
        done.losses["patch_contrast"].backward()
        assert (network.weight.grad is not None) == learns
        assert all(p.grad is not None for p in made.heads()["patch_contrast"].parameters())
        assert made.needs_teacher is not learns


def test_memory_values() -> None:
    """The newest places first, of two iterations; padding and missing places have no label."""
    made = patch(samples=40, memory=1)
    for seed in range(3):
        before = made.bank[0].clone()
        run(made, Network(), target(seed))
        assert torch.equal(made.bank[1], before)
    # 2 images, windows of 6x6 pixels: 9 positions each, so 18 of 40 places of a window.
    assert (made.bank_label != 255).sum(1).tolist() == [36, 36]
    run(made, Network(), target(), valid=torch.zeros(2, 8, 8, dtype=torch.bool))
    assert (made.bank_label[0] == 255).all()


def test_padding_is_no_place() -> None:
    """Where all is padding no place counts; half of it leaves the other half."""
    made = patch(threshold=0.0, view=Brighter(), window=1.0, flip=False)
    valid = torch.ones(2, 8, 8, dtype=torch.bool)
    for padded, wanted in ((8, 0.0), (4, 25.0), (0, 50.0)):
        valid[:] = True
        valid[:, :padded] = False
        (done,) = run(made, Network(), target(), valid)
        assert done.metrics["places"].item() == pytest.approx(wanted)
        assert done.losses["patch_contrast"].isfinite()


def test_patch_start_and_resume() -> None:
    """Nothing before `start`; what is saved goes on to the bit."""
    made, other = patch(start=1), patch(start=1)
    made.begin(nn.Identity())
    assert run(made, Network(), target()) == []
    made.begin(nn.Identity())
    assert len(run(made, Network(), target())) == 1
    other.load_state_dict(made.state_dict())
    losses = []
    for one in (made, other):
        torch.manual_seed(1)
        one.begin(nn.Identity())
        (done,) = run(one, Network(), target(1))
        losses.append(done.losses["patch_contrast"])
    assert torch.equal(losses[0], losses[1])


def test_patch_errors() -> None:
    """Settings out of range; no target, no teacher."""
    for message, changes in (
        ('gradient has to be "student" or "projection", not', {"gradient": "teacher"}),
        (r"threshold in \[0, 1\], not 1.0 and 2", {"threshold": 2}),
        ("memory and start at least 0, not 0, 1 and 0", {"samples": 0}),
    ):
        with pytest.raises(ValueError, match=message):
            patch(**changes)
    with pytest.raises(ValueError, match="PatchContrast needs target images; this batch has none"):
        list(patch().passes(Network(), Batch(source()), nothing(target())))
    with pytest.raises(RuntimeError, match="projects the features of a teacher and has none"):
        run(patch(gradient="projection"), Network(), target())
