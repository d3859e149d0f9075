"""Bilinear resizing of images and maps, left out where nothing changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def at_size(maps: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """Images or maps (N, C, H, W) at a size (height, width), without smoothing before it.

    Maps of that size come back as they are.
    """
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, tuple(size), mode="bilinear", align_corners=align_corners)
