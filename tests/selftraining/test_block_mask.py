"""Withheld blocks: whole blocks, shares, draws, errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.selftraining import BlockMask
from uda.selftraining.views.block_mask import block_grid


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    block=st.integers(1, 80),
    ratio=st.floats(0, 1),
)
def test_block_mask_properties(height: int, width: int, block: int, ratio: float) -> None:
    """Each pixel is itself or 0, alike in all channels; ratio 0 and 1 keep all and nothing.

    A draw of exactly 0 would be withheld at ratio 0; the generator's seed is one without.
    """
    torch.manual_seed(0)
    image = torch.ones(2, 3, height, width)
    out = BlockMask(block_size=block, ratio=ratio)(image)
    assert set(out.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(out[:, 0], out[:, 2])
    if ratio in (0, 1):
        assert out.mean() == 1 - ratio


def test_blocks() -> None:
    """Where the block divides the image, every block is wholly kept or wholly withheld."""
    torch.manual_seed(0)
    out = BlockMask(block_size=8, ratio=0.5)(torch.ones(1, 3, 64, 96))[0, 0]
    blocks = out.unflatten(0, (8, 8)).unflatten(2, (12, 8)).transpose(1, 2).flatten(2)
    assert torch.equal(blocks.amin(-1), blocks.amax(-1))
    assert 0 < blocks.mean() < 1


def test_share() -> None:
    """Over 200 x 64 blocks the kept share is 0.3 to 5 deviations, in evaluation mode too."""
    torch.manual_seed(0)
    out = BlockMask(block_size=1, ratio=0.7).eval()(torch.ones(200, 3, 8, 8))
    assert abs(out[:, 0].mean().item() - 0.3) < 5 * (0.21 / 12800) ** 0.5


def test_small_images() -> None:
    """An image of less than half a block is one block, not none."""
    assert block_grid((20, 31), 64) == (1, 1)
    assert block_grid((96, 160), 64) == (2, 2)  # halves to the even number, as in Python


def test_half_precision() -> None:
    """The type of the image stays."""
    assert BlockMask()(torch.ones(1, 3, 64, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("settings", [{"block_size": 0}, {"ratio": 1.5}], ids=str)
def test_setting_errors(settings: dict[str, float]) -> None:
    """No block, no share."""
    with pytest.raises(ValueError, match="block_size of at least 1 pixel and a ratio in"):
        BlockMask(**settings)  # type: ignore[arg-type]
