"""An image of which blocks are withheld (masked image consistency, VFM-UDA++)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.selftraining.views.base import IMAGENET_MEAN, IMAGENET_STD, View


class BlockMask(View):
    """Images with a random share of square blocks set to 0 after normalisation.

    A grid of round(H / block) x round(W / block) cells (at least one) is drawn uniformly for each
    image; a cell is kept where its draw exceeds `ratio`; the grid is enlarged to the image
    (nearest) and multiplied with it (Hoyer et al., MIC, CVPR 2023, eq. 4 and 5; VFM-UDA++'s "token
    masking" is this, with the same values). It masks in evaluation mode as well.

    Args:
        block_size: Side of a block in pixels.
        ratio: Expected share of withheld blocks, in [0, 1].
        mean: See `View`; the mask needs neither, a view takes both.
        std: See `View`.

    Raises:
        ValueError: A block below 1 pixel, or a ratio outside [0, 1].
    """

    def __init__(
        self,
        *,
        block_size: int = 64,
        ratio: float = 0.7,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean=mean, std=std)
        if block_size < 1 or not 0 <= ratio <= 1:
            raise ValueError(
                "BlockMask takes a block_size of at least 1 pixel and a ratio in [0, 1]; got "
                f"block_size={block_size} and ratio={ratio}."
            )
        self.block_size, self.ratio = block_size, ratio

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """Masked images (N, 3, H, W) of normalised ones."""
        size = (image.shape[2], image.shape[3])
        grid = block_grid(size, self.block_size)
        noise = torch.rand(len(image), 1, *grid, device=image.device)
        return image * keep_mask(noise, size, self.ratio).to(image.dtype)


def block_grid(size: tuple[int, int], block_size: int) -> tuple[int, int]:
    """(rows, columns) of blocks of an image (H, W), both in pixels; halves go to the even number.

    >>> block_grid((1120, 96), 64), block_grid((20, 90), 64)
    ((18, 2), (1, 1))
    """
    # The released code has no lower limit; an image of half a block would have no mask at all.
    rows, columns = (max(1, round(side / block_size)) for side in size)
    return rows, columns


def keep_mask(noise: Tensor, size: tuple[int, int], ratio: float) -> Tensor:
    """1.0 where pixels are kept, else 0.0, (N, 1, H, W).

    Args:
        noise: (N, 1, rows, columns) in [0, 1).
        size: (H, W) in pixels.
        ratio: Cells whose noise does not exceed it are withheld.

    >>> keep_mask(torch.tensor([[[[0.2, 0.9]]]]), (1, 4), 0.7)
    tensor([[[[0., 0., 1., 1.]]]])
    """
    return F.interpolate((noise > ratio).float(), size, mode="nearest")
