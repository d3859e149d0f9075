"""Masks that hide blocks of an image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BlockMask(nn.Module):
    """Hides a random share of the square blocks of each image.

    The image is covered by a grid of `round(H / b)` x `round(W / b)` blocks (halves to the even
    number, as Python rounds), each kept where a draw from [0, 1) is above `ratio`, that is with
    probability `1 - ratio` (Hoyer et al., MIC, CVPR 2023; `masking_transforms.py`).
    Where b does not divide a side, blocks are stretched or squeezed. Hidden pixels become 0, which
    is the mean colour of normalised images.

    Each image has a mask of its own. Draws come from torch's generator of the host, whatever the
    device of the images: nothing waits, and a seed gives the same masks everywhere.

    Args:
        block_size: b, side of a block in pixels. MIC: 64 for crops of 1024, 32 for crops of 512.
        ratio: Expected share of hidden blocks, in [0, 1].

    Raises:
        ValueError: An argument is outside its range.

    >>> hide = BlockMask(block_size=2, ratio=0.5)
    >>> hide.enlarged(torch.tensor([[[[0.9, 0.1]]]]), (2, 4)).int().tolist()
    [[[[1, 1, 0, 0], [1, 1, 0, 0]]]]
    """

    def __init__(self, *, block_size: int = 64, ratio: float = 0.7) -> None:
        super().__init__()
        if block_size < 1:
            raise ValueError(f"block_size is a number of pixels >= 1, not {block_size}.")
        if not 0 <= ratio <= 1:
            raise ValueError(f"ratio is the share of hidden blocks in [0, 1], not {ratio}.")
        self.block_size, self.ratio = block_size, ratio

    def forward(self, image: Tensor) -> Tensor:
        """The images (N, C, H, W) with hidden blocks set to 0."""
        mask = self.draw(len(image), (image.shape[2], image.shape[3]))
        return image * mask.to(image.device, non_blocking=True)

    def draw(self, count: int, size: tuple[int, int]) -> Tensor:
        """Masks for `count` images of `size` (H, W): (count, 1, H, W) bool on the host, True: kept.

        Raises:
            ValueError: The images are too small for a single block.
        """
        return self.enlarged(torch.rand(count, 1, *self.grid(size)), size)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """How many blocks an image of `size` (H, W) has in each direction.

        Raises:
            ValueError: There is none.
        """
        rows, columns = (round(length / self.block_size) for length in size)
        if rows == 0 or columns == 0:
            raise ValueError(
                f"BlockMask: images of {size[1]}x{size[0]} pixels (width x height) hold no block "
                f"of {self.block_size}; set block_size to at most {min(size)}."
            )
        return rows, columns

    def enlarged(self, draws: Tensor, size: tuple[int, int]) -> Tensor:
        """The masks of given draws.

        Args:
            draws: (N, 1, rows, columns) in [0, 1), one for each block.
            size: (H, W) in pixels.

        Returns:
            (N, 1, H, W) bool, True where an image is kept.
        """
        kept = (draws > self.ratio).to(draws.dtype)
        return F.interpolate(kept, size, mode="nearest").bool()
