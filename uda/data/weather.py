"""Corruptions by weather: snow, frost, fog. All of it is drawn, no photograph is needed.

Images are (H, W, 3) float32 in [0, 1]; lengths are in pixels. What each setting means in numbers
stands in `uda.data.corruptions.SEVERITIES`.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from uda.data.distortion import enlarged, trail

Image = np.ndarray

SnowSetting = tuple[float, float, float, float, int, float, float]
FROST_COLOUR = (0.88, 0.95, 1.0)  # red, green, blue
PIXELS_A_CRYSTAL = 500


def snow(image: Image, setting: SnowSetting, generator: np.random.Generator) -> Image:
    """Falling flakes in front of an image that snow makes pale.

    Flakes are what exceeds a threshold in enlarged noise, drawn out along their fall; a second
    layer is the first one turned by 180 degrees.

    Args:
        image: (H, W, 3).
        setting: Mean and deviation of the noise, its enlargement, the threshold, half the length of
            a trail, deviation of its weights, and the share of the image that stays as it is.
        generator: Draws noise and direction.
    """
    mean, deviation, factor, threshold, radius, fading, share = setting
    size = image.shape[:2]
    noise = (mean + deviation * generator.standard_normal(size)).astype(np.float32)
    flakes = enlarged(noise, factor)
    flakes = np.where(flakes < threshold, 0, flakes).clip(0, 1).astype(np.float32)
    flakes = trail(flakes, radius, fading, angle=generator.uniform(-135, -45))[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    pale = share * image + (1 - share) * np.maximum(image, 1.5 * grey + 0.5)
    return pale + flakes + flakes[::-1, ::-1]


def frost(image: Image, setting: tuple[float, float], generator: np.random.Generator) -> Image:
    """Seen through a frozen pane: a weighted sum of the image and of ice crystals.

    Args:
        image: (H, W, 3).
        setting: Weights of image and frost.
        generator: Draws the crystals.
    """
    weight, frost_weight = setting
    height, width = image.shape[:2]
    haze = plasma(max(height, width), 2.0, generator)[:height, :width]
    ice = (0.45 * haze + 0.55 * _crystals(height, width, generator))[..., None]
    return weight * image + frost_weight * ice * np.array(FROST_COLOUR, np.float32)


def fog(image: Image, setting: tuple[float, float], generator: np.random.Generator) -> Image:
    """A cloud in front of the image, which keeps its highest value.

    Args:
        image: (H, W, 3).
        setting: Strength of the cloud, and by how much its noise falls from scale to scale.
        generator: Draws the cloud.
    """
    strength, decay = setting
    highest = image.max()
    cloud = plasma(max(image.shape[:2]), decay, generator)[: image.shape[0], : image.shape[1]]
    return (image + strength * cloud[..., None]) * highest / (highest + strength)


def plasma(size: int, decay: float, generator: np.random.Generator) -> Image:
    """A cloud (size, size) in [0, 1] by midpoint displacement; noise falls with scale."""
    cloud = generator.uniform(-1, 1, (2, 2)).astype(np.float32)
    step = 1.0
    while len(cloud) < size:
        cloud = cv2.resize(cloud, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        step /= decay
        cloud += step * generator.uniform(-1, 1, cloud.shape).astype(np.float32)
    cloud = cloud[:size, :size] - cloud.min()
    return cloud / max(float(cloud.max()), 1e-6)


def _crystals(height: int, width: int, generator: np.random.Generator) -> Image:
    """Needles of ice (height, width) in [0, 1] with side branches at 60 degrees, as ice grows."""
    canvas = np.zeros((height, width), np.uint8)
    side = min(height, width)
    for _ in range(max(1, height * width // PIXELS_A_CRYSTAL)):
        start = generator.uniform((0, 0), (width, height))
        angle, length = generator.uniform(0, 2 * math.pi), side * generator.uniform(0.08, 0.3)
        shade = int(generator.integers(110, 256))
        _needle(canvas, start, angle, length, shade)
        for share in np.arange(0.2, 1.0, 0.15):
            root = start + share * length * np.array([math.cos(angle), math.sin(angle)])
            for turn in (-math.pi / 3, math.pi / 3):
                _needle(canvas, root, angle + turn, 0.4 * (1 - share) * length, shade)
    ice = cv2.GaussianBlur(canvas, (0, 0), 0.8).astype(np.float32) / 255
    return (1.6 * ice).clip(0, 1)


def _needle(canvas: Image, start: Image, angle: float, length: float, shade: int) -> None:
    end = start + length * np.array([math.cos(angle), math.sin(angle)])
    points = [tuple(int(value) for value in np.round(point)) for point in (start, end)]
    cv2.line(canvas, points[0], points[1], shade, 1, cv2.LINE_AA)
