"""The low frequencies of another image: style without a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from uda.selftraining.views.base import IMAGENET_MEAN, IMAGENET_STD, View, without_autocast


class FourierStyle(View):
    """Gives images the low-frequency amplitudes of others and keeps their phases (FDA).

    The amplitudes of frequencies up to `b = floor(share min(H, W))` are replaced (Yang and Soatto,
    FDA, CVPR 2020). Values may leave [0, 1], as in the released code. As `source_style` of
    `SelfTraining` it gives source images the style of the target images of the batch, which is FDA;
    as a `view` it exchanges styles between mixed images.

    Args:
        share: beta; 0.01, 0.05 and 0.09 in the paper.
        window: `"corner"` (reference: the tensor version of the released code) takes the
            frequencies -b .. b - 1 in each direction, `"centred"` (its NumPy version) -b .. b.
        mean: See `View`.
        std: See `View`.

    Raises:
        ValueError: An argument is outside its range.
    """

    def __init__(
        self,
        *,
        share: float = 0.01,
        window: Literal["corner", "centred"] = "centred",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean=mean, std=std)
        if not 0 <= share < 0.5:
            raise ValueError(f"share has to be at least 0 and below 0.5, not {share}.")
        if window not in ("corner", "centred"):
            raise ValueError(f'window has to be "corner" or "centred", not {window!r}.')
        self.share, self.window = share, window

    def change(self, image: Tensor) -> Tensor:
        """Each image in the style of the next one of the batch."""
        return self.exchange(image, image.roll(1, 0))

    @torch.no_grad()
    def transfer(self, image: Tensor, style: Tensor) -> Tensor:
        """Normalised images in the style of others, both (N, 3, H, W).

        Raises:
            ValueError: The shapes differ.
        """
        if image.shape != style.shape:
            raise ValueError(
                f"FourierStyle needs images of one shape, not {tuple(image.shape)} and "
                f"{tuple(style.shape)}."
            )
        with without_autocast(image.device.type):
            both = (x if x.dtype == torch.float64 else x.float() for x in (image, style))
            one, other = (self.denormalise(x) for x in both)
            return self.normalise(self.exchange(one, other))

    def exchange(self, image: Tensor, style: Tensor) -> Tensor:
        """The exchange itself, on RGB images."""
        own, other = torch.fft.fft2(image), torch.fft.fft2(style)
        low = self._low(image)
        amplitude = torch.where(low, other.abs(), own.abs())
        changed = torch.polar(amplitude, own.angle())
        return torch.fft.ifft2(changed).real.to(image.dtype)

    def _low(self, image: Tensor) -> Tensor:
        """Which frequencies are exchanged: (H, W) bool."""
        height, width = image.shape[-2:]
        limit = math.floor(self.share * min(height, width))
        upper = limit if self.window == "centred" else limit - 1
        inside = []
        for length in (height, width):
            index = torch.arange(length, device=image.device)
            frequency = torch.where(index < (length + 1) // 2, index, index - length)
            inside.append((frequency >= -limit) & (frequency <= upper))
        return inside[0].unsqueeze(1) & inside[1]
