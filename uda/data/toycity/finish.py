"""What lens and sensor do to a painted image: texture, tone, colour cast, blur, noise."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from uda.data.toycity.style import Style
from uda.data.toycity.textures import TextureBank, crop_tile

Image = npt.NDArray[np.uint8]
# Strength of the surface texture per trainId: flat paint on cars, much on clothes and foliage.
_RELIEF = np.zeros(256, np.float32)
_RELIEF[:19] = [2, 2.5, 3, 4, 3, 3, 3, 3, 5, 5, 0.4, 7, 7, 4, 4, 4, 4, 5, 5]


def finish(
    image: Image, label: Image, style: Style, bank: TextureBank, rng: np.random.Generator
) -> Image:
    """The photograph of a painted image, (H, W, 3) uint8."""
    height, width = label.shape
    relief = cv2.LUT(label, _RELIEF[None])
    noise = crop_tile(bank.medium, rng, (height, width))
    noise = noise + np.float32(0.7) * crop_tile(bank.fine, rng, (height, width))
    rough = np.asarray(noise * relief, np.float32)
    scale = width / 320
    sigma = float(rng.uniform(*style.blur)) * scale
    work = image.astype(np.float32) + rough[:, :, None]
    if sigma > 0.2:
        work = cv2.GaussianBlur(work, (0, 0), sigma)
    strength = float(rng.uniform(*style.sharpen))
    if strength > 0.05:
        soft = cv2.GaussianBlur(work, (0, 0), 1.0 * scale)
        work = cv2.addWeighted(work, 1 + strength, soft, -strength, 0)
    work = _vignette(work, float(rng.uniform(*style.vignette)))
    grain = float(rng.uniform(*style.grain))
    for channel, share in enumerate((0.8, 0.6, 1.0)):  # blue is the noisiest
        white = crop_tile(bank.white, rng, (height, width))
        work[:, :, channel] += white * np.float32(share * grain)
    table = _tone(style, rng)
    return np.asarray(cv2.LUT(np.clip(work, 0, 255).astype(np.uint8), table), np.uint8)


def _vignette(work: npt.NDArray[np.float32], strength: float) -> npt.NDArray[np.float32]:
    """Darker corners: 1 - strength * r^2, r = 1 in the corners."""
    if strength <= 0.01:
        return work
    height, width = work.shape[:2]
    v = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    u = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    return np.asarray(work * (1 - strength * (u + v) / 2)[:, :, None], np.float32)


def _tone(style: Style, rng: np.random.Generator) -> Image:
    """Look-up table (1, 256, 3): exposure, colour cast, gamma, contrast."""
    level = np.arange(256, dtype=np.float64)[:, None] / 255
    cast = np.array(style.cast) * (1 + style.cast_jitter * rng.standard_normal(3))
    value = level * float(rng.uniform(*style.exposure)) * cast
    value = np.power(np.clip(value, 0, None), float(rng.uniform(*style.gamma)))
    middle = float(np.mean(value))
    value = middle + (value - middle) * float(rng.uniform(*style.contrast))
    return np.asarray(np.clip(value * 255, 0, 255)[None], np.uint8)
