"""Pictures of a training batch: what student and teacher see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

IGNORED_COLOUR = (0, 0, 0)


def overview(
    tensors: Mapping[str, Tensor],
    *,
    palette: Sequence[Sequence[int]],
    mean: Tensor,
    std: Tensor,
    images: int = 2,
) -> np.ndarray:
    """One row an image: its pictures, labels and weights side by side.

    Args:
        tensors: From `Method.show`: names ending in `_image` (N, 3, H, W), `_label` (N, H, W) or
            `_weight` (N, H, W).
        palette: RGB colour of each class.
        mean: (3,) subtracted from RGB in 0..255.
        std: (3,) RGB was divided by.
        images: Rows.

    Returns:
        (rows * H, columns * W, 3) uint8, RGB.
    """
    rows = []
    for i in range(min(images, len(next(iter(tensors.values()))))):
        tiles = [_tile(name, value[i].cpu(), palette, mean, std) for name, value in tensors.items()]
        rows.append(np.concatenate(tiles, 1))
    return np.concatenate(rows, 0)


def _tile(
    name: str, value: Tensor, palette: Sequence[Sequence[int]], mean: Tensor, std: Tensor
) -> np.ndarray:
    if name.endswith("_image"):
        pixels = value * std.cpu().view(3, 1, 1) + mean.cpu().view(3, 1, 1)
        return np.asarray(pixels.clamp(0, 255).byte().permute(1, 2, 0))
    if name.endswith("_weight"):
        grey = (value.float() * 255).clamp(0, 255).byte()
        return np.asarray(grey.unsqueeze(-1).expand(-1, -1, 3))
    return colour_label(value, palette)


def colour_label(label: Tensor, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """(H, W, 3) uint8 RGB colours of a label (H, W); ignored pixels are black."""
    table = torch.zeros(256, 3, dtype=torch.uint8)
    table[:] = torch.tensor(IGNORED_COLOUR, dtype=torch.uint8)
    table[: len(palette)] = torch.tensor(palette, dtype=torch.uint8)
    return np.asarray(table[label.long().cpu()])
