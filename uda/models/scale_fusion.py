"""Maps of two scales laid over each other, as HRDA fuses context and detail (ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from uda.models.detail_windows import scaled_size
from uda.structures import Box


def fuse(
    context: Tensor, detail: Tensor, attention: Tensor, *, align_corners: bool = False
) -> tuple[Tensor, Tensor]:
    """`up(a) * d + up((1 - a) * c)`, and `(1 - a) * c`.

    The order matters: the context is weighed before it is enlarged, the attention is enlarged on
    its own, so that the two weights do not add up to 1 between grid points.

    Args:
        context: c, (N, K, h, w).
        detail: d, (N, K, H, W), of the grid of the result.
        attention: a, (N, K or 1, h, w) in [0, 1].
        align_corners: Of the resizing.

    >>> import torch
    >>> one = torch.ones(1, 1, 1, 1)
    >>> fuse(2 * one, 4 * one, 0.25 * one)[0].item()
    2.5
    """

    def up(maps: Tensor) -> Tensor:
        size = detail.shape[2:]
        return F.interpolate(maps, size, mode="bilinear", align_corners=align_corners)

    weighted = (1 - attention) * context
    return up(attention) * detail + up(weighted), weighted


def resized(image: Tensor, factor: float) -> Tensor:
    """The image (N, C, H, W) enlarged by `factor`, bilinear, without smoothing before it."""
    if factor == 1:
        return image
    size = scaled_size(image.shape[2:], factor)
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


def placed(logits: Tensor, place: Box, size: Sequence[int]) -> Tensor:
    """A map of a size with zeros outside the place."""
    sides = (place.left, size[1] - place.right, place.top, size[0] - place.bottom)
    return F.pad(logits, sides)


def inside(place: Box, maps: Tensor) -> Tensor:
    """(1, 1, h, w), 1 inside the place of a grid and 0 outside."""
    mask = maps.new_zeros(1, 1, *maps.shape[2:])
    place.cut(mask).fill_(1)
    return mask


def padded(image: Tensor, step: int) -> Tensor:
    """The image with zeros, the mean colour, up to the next multiples of `step`."""
    bottom, right = (-side % step for side in image.shape[2:])
    return F.pad(image, (0, right, 0, bottom)) if bottom or right else image
