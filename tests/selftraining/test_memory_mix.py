"""A memory of sure target objects: what is kept, when and where it is pasted, saved and resumed."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.fuzz.bounded import bounded
from uda.selftraining import CutMix, MemoryMix, TargetMix
from uda.structures import Labelled, Mixed, PseudoLabel, Unlabelled


class Keep(nn.Module):
    """A mixer that shows what it was given as source."""

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """The source itself."""
        everywhere = torch.ones_like(source.label, dtype=torch.bool)
        return Mixed(source.image, source.label, everywhere.float(), everywhere.unsqueeze(1))


def mix(**changes: Any) -> MemoryMix:
    """Two classes, pixels as they are, always pasting once there is something."""
    settings: dict[str, Any] = {
        "num_classes": 2,
        "mixer": Keep(),
        "size": (4, 4),
        "memory": 2,
        "rate": 1e9,
        "turn": 0.0,
        "slope": 1.0,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return MemoryMix(**{**settings, **changes})


def target(value: float, label: Tensor, confidence: float) -> tuple[Unlabelled, PseudoLabel]:
    """An image of one grey, with labels (1, 4, 4) of one confidence."""
    image = torch.full((1, 3, 4, 4), value)
    kept = (label != 255).float()
    return Unlabelled(image), PseudoLabel(label, kept, torch.full_like(kept, confidence))


def halves() -> Tensor:
    """Class 0 in the upper two rows, class 1 in the third, nothing in the last."""
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    label[:, 2], label[:, 3] = 1, 255
    return label


def black() -> Labelled:
    """A source image of zeros without labels."""
    return Labelled(torch.zeros(1, 3, 4, 4), torch.full((1, 4, 4), 255))


def test_memory_values() -> None:
    """The two surest images stay; a less sure one changes nothing, a surer one takes a place."""
    made = mix()
    for value, confidence in ((10, 0.5), (20, 0.7), (30, 0.4), (40, 0.6)):
        made.remember(*target(value, halves(), confidence))
    assert sorted(made.confidence[0].tolist()) == pytest.approx([0.6, 0.7])
    assert sorted(made.images[2:, 0, 0, 0].tolist()) == [20, 40]
    assert made.masks[0].sum(1).tolist() == [4, 4, 0, 0]
    assert made.masks[2].sum(1).tolist() == [0, 0, 4, 0]


def test_memory_takes_no_ignored_pixel_values() -> None:
    """Neither label 255, nor weight 0, nor padding, nor fewer pixels than asked."""
    made = mix(min_pixels=5)
    image, pseudo = target(10, halves(), 0.9)
    pseudo.weight[:, 0] = 0
    image.valid = torch.ones(1, 4, 4, dtype=torch.bool)
    image.valid[:, :, 0] = False
    made.remember(image, pseudo)
    assert (made.confidence == -1).all()  # 3 pixels of class 0, 3 of class 1
    pseudo.weight[:, 0] = 1
    made.remember(image, pseudo)
    assert made.confidence[0].max() == pytest.approx(0.9)
    assert made.masks[:2].any(0)[:, 0].sum() == 0
    assert (made.confidence[1] == -1).all()


def test_probability_values() -> None:
    """E = (0.8 + 0) / 2 with one class in the memory; rate / K * sigmoid((0.4 - 0.3) / 0.1)."""
    made = mix(rate=1.0, turn=0.3, slope=0.1)
    only = halves().masked_fill(halves() == 1, 255)
    made.remember(*target(10, only, 0.9))
    made.remember(*target(10, only, 0.7))
    assert made.probability().item() == pytest.approx(0.5 / (1 + math.exp(-1)))
    assert mix(rate=1e9).probability().item() == 1
    assert mix(rate=1.0, turn=0.93, slope=0.005).probability().item() == pytest.approx(0, abs=1e-9)


def test_pasted_values() -> None:
    """At full size nothing moves: the class's own pixels, with image and label, come through.

    The first call has an empty memory, and pastes nothing.
    """
    made = mix(min_scale=1.0, memory=1)
    source = black()
    first = made(source, *target(50, halves(), 0.9))
    assert (first.label == 255).all()
    for _ in range(5):
        second = made(source, *target(50, halves(), 0.5))
        rows = second.label[0]
        assert rows[:3].tolist() == halves()[0, :3].tolist()
        assert (rows[3] == 255).all()
        assert (second.image[0, :, :3] == 50).all()
        assert (second.image[0, :, 3] == 0).all()
    assert (source.label == 255).all()


def test_later_objects_cover_values() -> None:
    """Both classes fill the image: what is on top differs from draw to draw, and is whole."""
    made = mix(min_scale=1.0, memory=1)
    for k in range(2):
        made.remember(*target(10.0 * (k + 1), torch.full((1, 4, 4), k), 0.9))
    seen = set()
    torch.manual_seed(0)
    for _ in range(12):
        found = made.enriched(black())
        (value,) = found.label.unique().tolist()
        assert (found.image == 10.0 * (value + 1)).all()
        seen.add(value)
    assert seen == {0, 1}


def test_small_objects_lie_inside_values() -> None:
    """A memory of one class everywhere: the pasted square has the drawn side and lies inside."""
    made = mix(min_scale=0.5, memory=1, size=(8, 8))
    made.remember(*target(10, torch.zeros(1, 4, 4, dtype=torch.int64), 0.9))
    torch.manual_seed(0)
    sides, places = [], set()
    for _ in range(60):
        pasted = made.enriched(Labelled(torch.zeros(1, 3, 40, 40), torch.full((1, 40, 40), 255)))
        rows, columns = (pasted.label[0] == 0).nonzero().unbind(1)
        height = int(rows.max() - rows.min()) + 1
        width = int(columns.max() - columns.min()) + 1
        assert len(rows) == height * width
        assert abs(height - width) <= 1
        sides.append(height)
        places.add((int(rows.min()), int(columns.min())))
    assert 19 <= min(sides) < 24
    assert 36 < max(sides) <= 40
    assert len(places) > 30


def test_mirrored_values() -> None:
    """An object on the left edge appears on the right about half of the time."""
    made = mix(min_scale=1.0, memory=1, num_classes=1)
    label = torch.full((1, 4, 4), 255)
    label[:, :, 0] = 0
    made.remember(*target(10, label, 0.9))
    torch.manual_seed(0)
    columns = [int((made.enriched(black()).label[0] == 0).nonzero()[0, 1]) for _ in range(40)]
    assert set(columns) == {0, 3}
    assert 10 < columns.count(0) < 30


@bounded(40)
@given(
    seed=st.integers(0, 2**31),
    size=st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    ignored=st.sampled_from([0.0, 0.5, 1.0]),
    stored=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_memory_mix_properties(
    seed: int, size: tuple[int, int, int], ignored: float, stored: tuple[int, int]
) -> None:
    """Any sizes and labels: finite, source pixels either as they were or of a known class.

    Inputs are left alone; the memory holds at most what was given, and only known confidences.
    """
    generator = torch.Generator().manual_seed(seed)
    made = mix(size=stored, rate=1.0, mixer=None)
    torch.manual_seed(seed)
    for _ in range(3):
        image = torch.rand(size[0], 3, *size[1:], generator=generator) * 255
        label = torch.randint(2, size, generator=generator)
        label[torch.rand(size, generator=generator) < ignored] = 255
        weight = torch.rand(size, generator=generator).round()
        pseudo = PseudoLabel(label.flip(2), weight, torch.rand(size, generator=generator))
        before = image.clone(), label.clone()
        source = Labelled(image, label)
        rich = made.enriched(source)
        same = rich.label == label
        assert rich.image.isfinite().all()
        assert (rich.label[~same] < 2).all()
        mixed = made(source, Unlabelled(image.flip(3)), pseudo)
        assert mixed.image.isfinite().all()
        assert torch.equal(image, before[0])
        assert torch.equal(label, before[1])
    assert (made.confidence <= 1).all()
    if ignored == 1.0:
        assert (made.confidence == -1).all()
        assert not made.masks.any()


def test_memory_mix_resume() -> None:
    """Saved and loaded, it goes on to the bit: images, masks, confidences, draws."""
    straight, resumed = mix(rate=1.5), mix(rate=1.5)
    for step in range(4):
        if step == 2:
            resumed.load_state_dict(straight.state_dict())
        given_ = target(10.0 * step, halves(), 0.3 * step)
        found = []
        for made in (straight, resumed)[: 1 + (step >= 2)]:
            torch.manual_seed(step)
            found.append(made(black(), *given_))
        if step >= 2:
            assert torch.equal(found[0].image, found[1].image)
            assert torch.equal(found[0].label, found[1].label)


def test_channels_last_values() -> None:
    """A model in channels-last layout can have a memory, and the same comes out of it."""
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        made = mix(rate=1.0).to(memory_format=layout)  # type: ignore[call-overload]
        torch.manual_seed(0)
        for value in (11.0, 12.0, 13.0):
            mixed = made(black(), *target(value, halves(), 0.9))
        found.append(mixed)
    assert torch.equal(found[0].image, found[1].image)


def test_memory_mix_in_half_precision_values() -> None:
    """Inside autocast places and colours are those of full precision."""
    found = []
    for enabled in (False, True):
        made = mix(rate=1.0, size=(7, 7))
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            for value in (11.0, 12.0, 13.0):
                mixed = made(black(), *target(value, halves(), 0.9))
        found.append(mixed)
    assert torch.equal(found[0].image, found[1].image)
    assert torch.equal(found[0].label, found[1].label)


def test_memory_mix_errors() -> None:
    """Numbers out of range, and mixers that look at no source."""
    with pytest.raises(ValueError, match=r"have to be at least 1, not 0, 1 and \(4, 4\)"):
        mix(memory=0)
    with pytest.raises(ValueError, match=r"slope above 0 and min_scale in \(0, 1\], not .* 0 and"):
        mix(slope=0)
    with pytest.raises(
        TypeError, match="which TargetMix does not need: give it ClassMix or CutMix"
    ):
        mix(mixer=TargetMix(num_classes=2))
    assert isinstance(mix(mixer=CutMix()).mixer, CutMix)
