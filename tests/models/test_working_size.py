"""Working sizes, and maps brought back from padding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.models.working_size import fit_image, without_padding, working_size

SIDES = st.integers(1, 3000)
MULTIPLES = st.sampled_from([14, 16, 32, 224])


@given(
    height=SIDES, width=SIDES, multiple=MULTIPLES, way=st.sampled_from(["next", "vfm_uda", "pad"])
)
def test_working_size_properties(height: int, width: int, multiple: int, way: str) -> None:
    """Multiples always; "next" adds less than one, "vfm_uda" lies in (1.1 side - one, 1.1 side]."""
    for side, ours in zip(
        (height, width), working_size((height, width), multiple, way), strict=True
    ):
        assert ours % multiple == 0
        assert ours > 0
        if way != "vfm_uda":
            assert side <= ours < side + multiple
        elif 11 * side >= 10 * multiple:
            assert 10 * ours <= 11 * side < 10 * (ours + multiple)


def test_working_size_values() -> None:
    """Those of the papers, and one where 1.1 x 140 / 14 in floating point is above 11."""
    assert working_size((1024, 1024), 14, "vfm_uda") == (1120, 1120)
    assert working_size((512, 512), 14, "vfm_uda") == (560, 560)
    assert working_size((140, 64), 14, "vfm_uda") == (154, 70)
    assert working_size((28, 42), 14, "none") == (28, 42)
    with pytest.raises(
        ValueError, match=r'multiples of 14 pixels; got an image of 28x43\. .*"next"'
    ):
        working_size((28, 43), 14, "none")


def test_fit_image() -> None:
    """Padding adds zeros below and right and changes nothing else; a fitting image is itself."""
    image = torch.rand(1, 3, 5, 6)
    padded = fit_image(image, (8, 8), "pad")
    assert torch.equal(padded[..., :5, :6], image)
    assert padded[..., 5:, :].eq(0).all()
    assert padded[..., 6:].eq(0).all()
    assert fit_image(image, (5, 6), "next") is image
    assert fit_image(torch.full((1, 3, 5, 6), 0.5), (8, 8), "next").eq(0.5).all()


def test_without_padding_values() -> None:
    """A linear ramp over the padded image is the same ramp over the image.

    Cell j of 8, of 14 pixels each, holds its centre 14 j + 7. An image of 100 of the 112 pixels
    gets round(8 x 100 / 112) = 7 cells with centres 100 (j + 0.5) / 7.
    """
    ramp = (14 * torch.arange(8.0) + 7).expand(1, 1, 3, 8)
    cut = without_padding(ramp, (42, 100), (42, 112))
    wanted = 100 * (torch.arange(7.0) + 0.5) / 7
    torch.testing.assert_close(cut, wanted.expand(1, 1, 3, 7))
    assert without_padding(ramp, (42, 112), (42, 112)) is ramp
