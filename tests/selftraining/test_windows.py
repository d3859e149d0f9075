"""Pairs of windows: aligned, overlapping, and the same place shown by both."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.bounded import bounded
from uda.selftraining.windows import Pair, Windows


def test_shared_values() -> None:
    """Windows of 4x4 at (0, 0) and (2, 0), the second mirrored: both show rows 2 and 3."""
    image = torch.arange(36.0).view(1, 1, 6, 6)
    pair = Pair(size=(4, 4), corners=((0, 0), (2, 0)), flipped=(False, True), stride=2)
    one, two = pair.cut(image)
    assert two[0, 0, 0].tolist() == [15, 14, 13, 12]
    first, second = pair.shared(torch.cat([one, two]))
    assert first[0, 0].tolist() == [[12, 13, 14, 15], [18, 19, 20, 21]]
    assert torch.equal(first, second)


@bounded(60)
@given(
    seed=st.integers(0, 2**31),
    height=st.integers(8, 30),
    width=st.integers(8, 30),
    share=st.sampled_from([0.7, 0.75, 0.9, 1.0]),
)
def test_windows_properties(seed: int, height: int, width: int, share: float) -> None:
    """For any size: inside, aligned, overlapping, and pooled maps agree place by place."""
    torch.manual_seed(seed)
    pair = Windows(share=share, stride=2, flip=True).draw(height, width)
    for top, left in pair.corners:
        assert top % 2 == left % 2 == 0
        assert top + pair.size[0] <= height
        assert left + pair.size[1] <= width
    image = torch.rand(2, 3, height, width)
    maps = F.avg_pool2d(torch.cat(pair.cut(image)), 2)
    first, second = pair.shared(maps)
    assert first.numel() > 0
    torch.testing.assert_close(first, second)


def test_windows_differ() -> None:
    """Draws move and mirror windows; without `flip` none is mirrored."""
    torch.manual_seed(0)
    pairs = [Windows(share=0.6, stride=2, flip=True).draw(20, 20) for _ in range(30)]
    assert len({pair.corners for pair in pairs}) > 10
    assert {flip for pair in pairs for flip in pair.flipped} == {True, False}
    still = [Windows(share=0.6, stride=2, flip=False).draw(20, 20) for _ in range(30)]
    assert not any(any(pair.flipped) for pair in still)


def test_windows_errors() -> None:
    """Windows that need not overlap, and maps that do not line up."""
    with pytest.raises(ValueError, match="window has to be above 0.5 and at most 1, not 0.5"):
        Windows(share=0.5, stride=2, flip=True)
    with pytest.raises(ValueError, match="stride has to be at least 1 pixel, not 0"):
        Windows(share=0.75, stride=0, flip=True)
    with pytest.raises(ValueError, match="windows of 64x0 at a stride of 32, which need not over"):
        Windows(share=0.75, stride=32, flip=True).draw(64, 30)
    pair = Pair(size=(12, 12), corners=((0, 0), (2, 2)), flipped=(False, False), stride=2)
    with pytest.raises(ValueError, match="maps of 3x3, which do not line up at every 2 pixels"):
        pair.shared(torch.zeros(2, 1, 3, 3))
    with pytest.raises(ValueError, match="maps of 5x6, which do not line up"):
        pair.shared(torch.zeros(2, 1, 5, 6))
