"""Images with named corruptions at five severities, after ImageNet-C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

Image = np.ndarray
Corruption = Callable[[Image, Any, np.random.Generator], Image]

# What each severity from 1 to 5 means (Hendrycks and Dietterich, ICLR 2019, released settings for
# images of 224 pixels; lengths are in pixels of such an image).
SEVERITIES: dict[str, tuple[Any, ...]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": (3, 4, 6, 8, 10),
    "motion_blur": (10, 15, 15, 15, 20),
    "zoom_blur": (1.11, 1.16, 1.21, 1.26, 1.31),
    "fog": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
}


def corrupt(image: Image, name: str, severity: int, generator: np.random.Generator) -> Image:
    """An image as a bad camera, bad weather or bad storage would give it.

    Eleven of the fifteen corruptions of ImageNet-C (Hendrycks and Dietterich, "Benchmarking Neural
    Network Robustness to Common Corruptions and Perturbations", ICLR 2019), in code of our own with
    their settings: results compare methods with each other, not with published figures. Left out
    are glass blur, snow, frost and elastic transformation.

    Args:
        image: (H, W, 3) uint8, RGB.
        name: One of `SEVERITIES`.
        severity: 1 (weak) to 5.
        generator: Draws noise, direction and fog.

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


def _defocus_blur(image: Image, radius: int, generator: np.random.Generator) -> Image:
    axis = np.arange(-radius - 1, radius + 2)
    disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk, (3, 3), 0.5)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def _motion_blur(image: Image, length: int, generator: np.random.Generator) -> Image:
    side = 2 * length + 1
    line = np.zeros((side, side), np.float32)
    line[length, length:] = 1  # the trail is on one side
    turn = cv2.getRotationMatrix2D((length, length), generator.uniform(-45, 45), 1)
    kernel = cv2.warpAffine(line, turn, (side, side))
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def _zoom_blur(image: Image, furthest: float, generator: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    zooms = np.arange(1, furthest, 0.02)
    total = image.copy()
    for zoom in zooms:
        around = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), 0, float(zoom))
        total += cv2.warpAffine(image, around, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return total / (len(zooms) + 1)


def _fog(image: Image, setting: tuple[float, float], generator: np.random.Generator) -> Image:
    strength, decay = setting
    highest = image.max()
    fog = _plasma(max(image.shape[:2]), decay, generator)[: image.shape[0], : image.shape[1]]
    return (image + strength * fog[..., None]) * highest / (highest + strength)


def _plasma(size: int, decay: float, generator: np.random.Generator) -> Image:
    """A cloud (size, size) in [0, 1] by midpoint displacement; noise falls with scale."""
    cloud = generator.uniform(-1, 1, (2, 2)).astype(np.float32)
    step = 1.0
    while len(cloud) < size:
        cloud = cv2.resize(cloud, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        step /= decay
        cloud += step * generator.uniform(-1, 1, cloud.shape).astype(np.float32)
    cloud = cloud[:size, :size] - cloud.min()
    return cloud / max(float(cloud.max()), 1e-6)


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
    "defocus_blur": _defocus_blur,
    "motion_blur": _motion_blur,
    "zoom_blur": _zoom_blur,
    "fog": _fog,
    "brightness": _brightness,
    "contrast": _contrast,
    "pixelate": _pixelate,
    "jpeg_compression": _jpeg_compression,
}
