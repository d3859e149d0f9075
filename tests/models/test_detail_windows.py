"""Boxes and windows: where they may lie, that they cover, and that grids meet."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.models.detail_windows import alignment, draw_box, scaled, scaled_size, sliding_boxes
from uda.structures import Box

SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@pytest.mark.parametrize(
    ("stride", "scales", "wanted"),
    [
        (4, (0.5, 1.0), 8),
        (8, (0.5, 1.0), 16),
        (4, (0.25, 1.0), 16),
        (4, (0.75, 1.0), 16),
        (4, (0.5, 0.5), 8),
        (4, (1.0, 1.0), 4),
        (14, (0.5, 1.0), 28),
    ],
)
def test_alignment_values(stride: int, scales: tuple[float, ...], wanted: int) -> None:
    """Logits lie every stride / scale pixels: 16/3 for 4 / 0.75, of which 16 is three."""
    assert alignment(stride, *scales) == wanted


@given(stride=st.sampled_from([4, 8, 14, 16]), quarters=st.integers(1, 4))
def test_alignment_properties(stride: int, quarters: int) -> None:
    """It is a whole number of logits at each scale, and nothing smaller is."""
    scales = (Fraction(quarters, 4), Fraction(1))
    step = alignment(stride, *(float(scale) for scale in scales))

    def whole(pixels: int) -> bool:
        return all((pixels * scale / stride).denominator == 1 for scale in scales)

    assert whole(step)
    assert not any(map(whole, range(1, step)))


@given(inner=SIDES, margin=st.tuples(st.integers(0, 12), st.integers(0, 12)), last=st.booleans())
def test_draw_box_properties(inner: tuple[int, int], margin: tuple[int, int], last: bool) -> None:
    """A box lies inside, has its size, and starts at multiples of the step."""
    inner = (inner[0] * 8, inner[1] * 8)
    size = (inner[0] + 8 * margin[0], inner[1] + 8 * margin[1])
    box = draw_box(size, inner, step=8, include_last=last)
    assert box.size == inner
    assert box.top >= 0
    assert box.bottom <= size[0]
    assert box.left >= 0
    assert box.right <= size[1]
    assert box.top % 8 == 0
    assert box.left % 8 == 0


@pytest.mark.parametrize(("last", "offsets"), [(True, [0, 8, 16, 24]), (False, [0, 8, 16])])
def test_draw_box_offsets_values(last: bool, offsets: list[int]) -> None:
    """With a margin of 24 the released code draws below (24 + 1) // 8 = 3: 24 never comes."""
    torch.manual_seed(0)
    boxes = [draw_box((56, 56), (32, 32), step=8, include_last=last) for _ in range(200)]
    assert sorted({box.top for box in boxes}) == sorted({box.left for box in boxes}) == offsets


def test_draw_box_of_a_narrow_margin_values() -> None:
    """Of a margin of 4 the released formula would draw below 0; the only place is 0."""
    assert draw_box((12, 12), (8, 8), step=8, include_last=False) == Box(0, 8, 0, 8)


def test_draw_box_follows_the_seed_properties() -> None:
    """The global generator of torch decides, whose state a run saves."""
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = draw_box((512, 512), (64, 64), step=8)
    torch.set_rng_state(state)
    assert draw_box((512, 512), (64, 64), step=8) == first


@given(size=SIDES, window=SIDES, stride=SIDES)
def test_sliding_boxes_properties(
    size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]
) -> None:
    """Windows without gaps cover each pixel, are all of one size, and none comes twice."""
    stride = (min(stride[0], window[0]), min(stride[1], window[1]))
    boxes = sliding_boxes(size, window, stride)
    count = torch.zeros(size)
    for box in boxes:
        box.cut(count).add_(1)
    assert (count > 0).all()
    assert {box.size for box in boxes} == {(min(window[0], size[0]), min(window[1], size[1]))}
    assert len(set(boxes)) == len(boxes)


def test_sliding_boxes_of_the_paper_values() -> None:
    """512 windows with stride 256 in a crop of 1024: three by three."""
    boxes = sliding_boxes((1024, 1024), (512, 512), (256, 256))
    assert len(boxes) == 9
    assert [box.left for box in boxes[:3]] == [0, 256, 512]
    assert len(sliding_boxes((1024, 1024), (512, 512), (512, 512))) == 4


def test_scaled_values() -> None:
    assert scaled(Box(16, 32, 0, 48), 0.75) == Box(12, 24, 0, 36)
    assert scaled(Box(28, 56, 0, 28), 1 / 28) == Box(1, 2, 0, 1)
    assert scaled_size((720, 960), 0.5) == (360, 480)
