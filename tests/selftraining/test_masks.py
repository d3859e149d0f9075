"""Block masks: enlargement by hand, share, draws of the host, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.selftraining import BlockMask


def test_block_mask_values() -> None:
    """A 4x6 image in blocks of 3: round(4/3) = 1 row, 2 columns; draws 0.7 and 0.71 at ratio 0.7.

    Only a draw above the ratio keeps its block, so the first is hidden. What is kept is untouched.
    """
    mask = BlockMask(block_size=3, ratio=0.7)
    assert mask.grid((4, 6)) == (1, 2)
    kept = mask.enlarged(torch.tensor([[[[0.7, 0.71]]]]), (4, 6))
    assert kept.dtype == torch.bool
    assert kept.int().tolist() == [[[[0, 0, 0, 1, 1, 1]] * 4]]


def test_block_mask_rounding_values() -> None:
    """Halves are rounded to the even number: 96/64 = 1.5 and 160/64 = 2.5 both give 2."""
    assert BlockMask(block_size=64).grid((96, 160)) == (2, 2)
    assert BlockMask(block_size=64).grid((1120, 1120)) == (18, 18)


@settings(max_examples=30, deadline=None)
@given(
    block=st.integers(1, 9),
    size=st.tuples(st.integers(9, 40), st.integers(9, 40)),
    seed=st.integers(0, 99),
    ratio=st.floats(0, 1),
)
def test_block_mask_properties(block: int, size: tuple[int, int], seed: int, ratio: float) -> None:
    """Each pixel takes the draw of the block it lies in, by an independent way in NumPy."""
    mask = BlockMask(block_size=block, ratio=ratio)
    rows, columns = mask.grid(size)
    draws = torch.rand(2, 1, rows, columns, generator=torch.Generator().manual_seed(seed))
    wanted = np.zeros((2, *size), bool)
    for y, x in np.ndindex(*size):
        wanted[:, y, x] = draws.numpy()[:, 0, y * rows // size[0], x * columns // size[1]] > ratio
    found = mask.enlarged(draws, size).numpy()[:, 0]
    # float32 scales may put a pixel on a border into the block before
    assert (found != wanted).mean() <= (rows * size[1] + columns * size[0]) / found[0].size
    if size[0] % rows == 0 and size[1] % columns == 0:
        assert (found == wanted).all()


def test_block_mask_hides_properties() -> None:
    """Hidden pixels are 0 in all channels, kept ones what they were; a mask for each image."""
    image = torch.rand(4, 3, 32, 32) + 1
    torch.manual_seed(3)
    hidden = BlockMask(block_size=8, ratio=0.5)(image)
    torch.manual_seed(3)
    mask = BlockMask(block_size=8, ratio=0.5).draw(4, (32, 32))
    assert torch.equal(hidden, torch.where(mask, image, 0.0))
    assert len({tuple(one.flatten().tolist()) for one in mask}) == 4


def test_block_mask_share_properties() -> None:
    """Over many blocks 1 - ratio are kept: within 4 standard deviations of 6400 draws."""
    torch.manual_seed(0)
    for ratio in (0.0, 0.3, 0.7, 1.0):
        share = BlockMask(block_size=1, ratio=ratio).draw(4, (40, 40)).double().mean().item()
        assert share == pytest.approx(1 - ratio, abs=4 * (ratio * (1 - ratio) / 6400) ** 0.5 + 1e-3)


def test_block_mask_dtype_properties() -> None:
    """Half and double precision stay what they are, as does channels-last."""
    for dtype in (torch.bfloat16, torch.float64):
        assert BlockMask(block_size=2)(torch.ones(1, 3, 4, 4, dtype=dtype)).dtype == dtype
    image = torch.ones(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    hidden = BlockMask(block_size=2)(image)
    assert hidden.is_contiguous(memory_format=torch.channels_last)


def test_block_mask_errors() -> None:
    with pytest.raises(ValueError, match="block_size is a number of pixels >= 1, not 0"):
        BlockMask(block_size=0)
    with pytest.raises(ValueError, match=r"share of hidden blocks in \[0, 1\], not 70"):
        BlockMask(ratio=70)
    message = r"images of 64x31 pixels \(width x height\) hold no block of 64; set block_size to at"
    with pytest.raises(ValueError, match=message):
        BlockMask(block_size=64)(torch.zeros(1, 3, 31, 64))
