"""What all views share: they see pixels in [0, 1], whatever the network's normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class View(nn.Module):
    """Changes normalised images; a subclass writes `change`, which sees RGB in [0, 1].

    Args:
        mean: Mean that was subtracted from each of the channels R, G, B, in 0..255.
        std: Standard deviation each channel was divided by, in 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) / 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) / 255, persistent=False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """The changed images, (N, 3, H, W) like `image`, normalised again."""
        # Colours are computed in full precision also where the networks are not.
        with without_autocast(image.device.type):
            full = image if image.dtype == torch.float64 else image.float()
            return self.normalise(self.change(self.denormalise(full)))

    def denormalise(self, image: Tensor) -> Tensor:
        """RGB in [0, 1] of normalised images (N, 3, H, W)."""
        return image * self.std + self.mean

    def normalise(self, image: Tensor) -> Tensor:
        """Normalised images (N, 3, H, W) of RGB in [0, 1]."""
        return (image - self.mean) / self.std

    def change(self, image: Tensor) -> Tensor:
        """The change itself, on RGB images (N, 3, H, W) in [0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} has to define `change`.")


class NoView(View):
    """Leaves images as they are."""

    def forward(self, image: Tensor) -> Tensor:
        """`image` itself."""
        return image


def without_autocast(device: str) -> AbstractContextManager[object]:
    """A context without mixed precision; it does nothing on devices that know none."""
    if torch.amp.autocast_mode.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()
