"""DACS's strong view: colour jitter and Gaussian blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.selftraining.views.base import IMAGENET_MEAN, IMAGENET_STD, View
from uda.selftraining.views.color_space import hsv_to_rgb, rgb_to_hsv

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


class ColorJitterBlur(View):
    """Colour jitter and Gaussian blur as in DACS and DAFormer (`dacs_transforms.py`).

    Jitter draws, for each image, factors b, c, s in [1 - strength, 1 + strength] and h in
    [-strength, strength], and applies in random order: brightness `x + (b - 1)`, contrast `c x`,
    saturation `s S` and hue `H + h` in HSV, each clipped to [0, 1]. These are the definitions of
    kornia 0.5 that published results were made with; other libraries multiply brightness and
    keep the mean with contrast. Blur draws sigma in `blur_sigma` for each image.

    Args:
        jitter_probability: Chance of jitter, in [0, 1].
        jitter_strength: Half-width of the ranges above; hue in turns.
        blur_probability: Chance of blur, in [0, 1].
        blur_sigma: Smallest and largest sigma in pixels.
        gate: `"batch"` (reference): one draw decides for all images of the batch. `"image"`
            (clean): a draw for each.
        mean: See `View`.
        std: See `View`.

    Raises:
        ValueError: An argument is outside its range.
    """

    def __init__(
        self,
        *,
        jitter_probability: float = 0.8,
        jitter_strength: float = 0.2,
        blur_probability: float = 0.5,
        blur_sigma: tuple[float, float] = (0.15, 1.15),
        gate: Literal["batch", "image"] = "image",
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean=mean, std=std)
        for name, value in (("jitter", jitter_probability), ("blur", blur_probability)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}_probability has to lie in [0, 1], not {value}.")
        if jitter_strength < 0:
            raise ValueError(f"jitter_strength has to be at least 0, not {jitter_strength}.")
        if not 0 < blur_sigma[0] <= blur_sigma[1]:
            raise ValueError(
                f"blur_sigma has to be (low, high) with 0 < low <= high, not {blur_sigma}."
            )
        if gate not in ("batch", "image"):
            raise ValueError(f'gate has to be "batch" or "image", not {gate!r}.')
        self.jitter_probability, self.jitter_strength = jitter_probability, jitter_strength
        self.blur_probability, self.blur_sigma = blur_probability, blur_sigma
        self.gate = gate

    def change(self, image: Tensor) -> Tensor:
        """Jitter, then blur. All draws are made on the host, so nothing waits for the device."""
        count = len(image)
        jittered, blurred = self._gates(count)
        strength = self.jitter_strength
        images = list(image.unbind())
        for i in range(count):
            factors = 1 + strength * (2 * torch.rand(3) - 1)
            hue = strength * (2 * torch.rand(1) - 1)
            order = torch.randperm(4).tolist()
            if jittered[i]:
                amounts = [*factors.tolist(), hue.item()]
                images[i] = color_jitter(images[i].unsqueeze(0), amounts, order).squeeze(0)
        low, high = self.blur_sigma
        sigma = torch.rand(count) * (high - low) + low
        result = torch.stack(images)
        if not any(blurred):
            return result
        smooth = gaussian_blur(result, sigma.tolist())
        keep = torch.tensor(blurred).view(-1, 1, 1, 1).to(image.device, non_blocking=True)
        return torch.where(keep, smooth, result)

    def _gates(self, count: int) -> tuple[list[bool], list[bool]]:
        draws = torch.rand(2, count) if self.gate == "image" else torch.rand(2, 1).expand(2, count)
        jittered: list[bool] = (draws[0] < self.jitter_probability).tolist()
        blurred: list[bool] = (draws[1] < self.blur_probability).tolist()
        return jittered, blurred


def color_jitter(image: Tensor, amounts: Sequence[float], order: Sequence[int]) -> Tensor:
    """Brightness, contrast, saturation and hue changed in the given order.

    Args:
        image: (N, 3, H, W) float, RGB in [0, 1].
        amounts: Brightness, contrast and saturation factor, and hue shift in turns.
        order: A permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    for operation in order:
        amount = amounts[operation]
        if operation == BRIGHTNESS:
            image = (image + (amount - 1)).clamp(0, 1)
        elif operation == CONTRAST:
            image = (image * amount).clamp(0, 1)
        elif operation == SATURATION:
            hue, saturation, value = rgb_to_hsv(image)
            image = hsv_to_rgb(hue, (saturation * amount).clamp(0, 1), value)
        else:
            hue, saturation, value = rgb_to_hsv(image)
            image = hsv_to_rgb((hue + amount) % 1, saturation, value)
    return image


def gaussian_blur(image: Tensor, sigma: Sequence[float]) -> Tensor:
    """Each image smoothed by a Gaussian of its own, with reflected borders.

    The reference's kernel has about a tenth of the image's length (`blur_kernel_length`); beyond
    8 sigma its weights vanish in single precision, so that shorter kernels give the same.

    Args:
        image: (N, C, H, W) float.
        sigma: N standard deviations in pixels.
    """
    count, channels, height, width = image.shape
    reach = math.ceil(8 * max(sigma))
    flat = image.reshape(1, count * channels, height, width)
    for axis, length in ((2, height), (3, width)):
        radius = min(reach, (blur_kernel_length(length) - 1) // 2)
        if radius == 0:
            continue
        offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
        spread = torch.tensor(sigma, dtype=torch.float64).unsqueeze(1)
        kernel = torch.exp(-0.5 * (offset / spread) ** 2)
        kernel = (kernel / kernel.sum(1, keepdim=True)).to(image.dtype)
        kernel = kernel.to(image.device, non_blocking=True)
        kernel = kernel.repeat_interleave(channels, 0)
        shape = (-1, 1, 2 * radius + 1, 1) if axis == 2 else (-1, 1, 1, 2 * radius + 1)
        padding = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        padded = F.pad(flat, padding, mode="reflect")
        flat = F.conv2d(padded, kernel.view(shape), groups=count * channels)
    return flat.view_as(image)


def blur_kernel_length(length: int) -> int:
    """The odd number of taps the reference uses along an axis of `length` pixels.

    >>> blur_kernel_length(512), blur_kernel_length(1024)
    (51, 103)
    """
    tenth = math.ceil(0.1 * length)
    return math.floor(tenth - 0.5 + tenth % 2)
