"""Images with named corruptions at five severities, after ImageNet-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from uda.data import distortion, weather

Image = np.ndarray
Corruption = Callable[[Image, Any, np.random.Generator], Image]

# What each severity from 1 to 5 means (Hendrycks and Dietterich, ICLR 2019, released settings for
# images of 224 pixels; lengths are in pixels of such an image).
SEVERITIES: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": (3, 4, 6, 8, 10),
    # deviation of the blur, furthest exchange, rounds
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    # half the length of the trail, deviation of its weights
    "motion_blur": ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
    # end and step of the zooms
    "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    # see `weather.snow`
    "snow": (
        (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
        (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
        (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
    ),
    # weights of image and frost
    "frost": ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    # strength, fall of the cloud's noise with scale
    "fog": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    # shift, deviation of its blur, shift of the three corners
    "elastic_transform": (
        (488.0, 170.8, 24.4),
        (488.0, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    ),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
}


def corrupt(image: Image, name: str, severity: int, generator: np.random.Generator) -> Image:
    """An image as a bad camera, bad weather or bad storage would give it.

    The fifteen corruptions of ImageNet-C (Hendrycks and Dietterich, "Benchmarking Neural Network
    Robustness to Common Corruptions and Perturbations", ICLR 2019), in code of our own with the
    settings of their released code: results compare methods with each other, not with published
    figures. Frost is drawn, where theirs takes it from photographs.

    Args:
        image: (H, W, 3) uint8, RGB.
        name: One of `SEVERITIES`.
        severity: 1 (weak) to 5.
        generator: Draws noise, directions, clouds, flakes and crystals.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: Name, severity or image are not of this kind.

    >>> grey = np.full((4, 4, 3), 51, np.uint8)
    >>> corrupt(grey, "brightness", 5, np.random.default_rng(0))[0, 0].tolist()  # 0.2 + 0.5
    [178, 178, 178]
    """
    if name not in SEVERITIES:
        raise ValueError(f"There is no corruption {name!r}; known: {', '.join(SEVERITIES)}.")
    if severity not in range(1, 6):
        raise ValueError(f"severity is a number from 1 to 5, not {severity!r}.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"Corruptions need an image (H, W, 3) of uint8, not {image.shape} of {image.dtype}."
        )
    setting = SEVERITIES[name][severity - 1]
    changed = _CORRUPTIONS[name](image.astype(np.float32) / 255, setting, generator)
    return np.round(changed.clip(0, 1) * 255).astype(np.uint8)


def _gaussian_noise(image: Image, deviation: float, generator: np.random.Generator) -> Image:
    return image + deviation * generator.standard_normal(image.shape, np.float32)


def _shot_noise(image: Image, photons: float, generator: np.random.Generator) -> Image:
    return generator.poisson(image * photons).astype(np.float32) / photons


def _impulse_noise(image: Image, share: float, generator: np.random.Generator) -> Image:
    draw = generator.random(image.shape)
    return np.where(draw < share / 2, 0.0, np.where(draw < share, 1.0, image))


def _brightness(image: Image, added: float, generator: np.random.Generator) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = (hsv[..., 2] + added).clip(0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _contrast(image: Image, factor: float, generator: np.random.Generator) -> Image:
    mean = image.mean((0, 1), keepdims=True)
    return (image - mean) * factor + mean


def _pixelate(image: Image, factor: float, generator: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    size = (max(1, int(width * factor)), max(1, int(height * factor)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)


def _jpeg_compression(image: Image, quality: int, generator: np.random.Generator) -> Image:
    pixels = np.round(image[..., ::-1] * 255).astype(np.uint8)
    _, stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    read = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))
    return read[..., ::-1].astype(np.float32) / 255


_CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": _gaussian_noise,
    "shot_noise": _shot_noise,
    "impulse_noise": _impulse_noise,
    "defocus_blur": distortion.defocus_blur,
    "glass_blur": distortion.glass_blur,
    "motion_blur": distortion.motion_blur,
    "zoom_blur": distortion.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "elastic_transform": distortion.elastic_transform,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}
