"""RGB to HSV and back, for whole batches."""

from __future__ import annotations

import torch
from torch import Tensor


def rgb_to_hsv(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in turns [0, 1), saturation and value in [0, 1] of RGB images.

    Grey pixels have hue 0, black ones saturation 0.

    Args:
        image: (N, 3, H, W) float in [0, 1].

    Returns:
        Three maps (N, H, W).
    """
    red, green, blue = image.unbind(1)
    value, strongest = image.max(1)
    chroma = value - image.min(1).values
    safe = torch.where(chroma == 0, 1.0, chroma)
    sector = torch.stack(
        ((green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4), 1
    )
    hue = sector.gather(1, strongest.unsqueeze(1)).squeeze(1)
    saturation = chroma / (value + 1e-8)
    return (hue / 6) % 1, saturation, value


def hsv_to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB images (N, 3, H, W) in [0, 1] of hue in turns, saturation and value (N, H, W).

    Each channel is `v - v s max(0, min(k, 4 - k, 1))` with `k = (n + 6 h) mod 6`, n = 5, 3, 1.

    >>> one = torch.ones(1, 1, 1)
    >>> hsv_to_rgb(one / 3, one, one).flatten().round().tolist()
    [0.0, 1.0, 0.0]
    """
    channels = []
    for shift in (5, 3, 1):
        k = (shift + hue * 6) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)
