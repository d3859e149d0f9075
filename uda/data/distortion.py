"""Corruptions that move light to other places: lenses, motion, glass, rubber.

Images are (H, W, 3) or (H, W) float32 in [0, 1]; lengths are in pixels. What each setting means in
numbers stands in `uda.data.corruptions.SEVERITIES`.
"""

from __future__ import annotations

import cv2
import numpy as np

Image = np.ndarray


def defocus_blur(image: Image, radius: int, generator: np.random.Generator) -> Image:
    """Each point as a disk of this radius, as a lens out of focus draws it."""
    axis = np.arange(-radius - 1, radius + 2)
    disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk, (3, 3), 0.5)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def glass_blur(
    image: Image, setting: tuple[float, int, int], generator: np.random.Generator
) -> Image:
    """Seen through frosted glass: blurred, pixels exchanged with near ones, blurred again."""
    deviation, reach, rounds = setting
    soft = gaussian_blur(image, deviation)
    return gaussian_blur(_exchanged(soft, reach, rounds, generator), deviation)


def motion_blur(image: Image, setting: tuple[int, float], generator: np.random.Generator) -> Image:
    """Drawn out along a line within 45 degrees of the horizontal."""
    return trail(image, *setting, angle=generator.uniform(-45, 45))


def zoom_blur(image: Image, setting: tuple[float, float], generator: np.random.Generator) -> Image:
    """The mean of the image and of its enlargements, as if one moved towards it."""
    zooms = np.arange(1, *setting)
    total = image.copy()
    for factor in zooms:
        total += enlarged(image, float(factor))
    return total / (len(zooms) + 1)


def elastic_transform(
    image: Image, setting: tuple[float, float, float], generator: np.random.Generator
) -> Image:
    """Printed on rubber: three corners pulled at random, then every point shifted smoothly."""
    strength, deviation, pull = setting
    height, width = image.shape[:2]
    reach = min(height, width) // 3
    middle = np.array([width // 2, height // 2], np.float32)
    corners = middle + reach * np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
    pulled = corners + generator.uniform(-pull, pull, (3, 2)).astype(np.float32)
    turned = cv2.warpAffine(
        image,
        cv2.getAffineTransform(corners, pulled),
        (width, height),
        borderMode=cv2.BORDER_REFLECT_101,
    )
    shifts = [
        strength * gaussian_blur(noise.astype(np.float32), deviation, reach=3.0)
        for noise in generator.uniform(-1, 1, (2, height, width))
    ]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return cv2.remap(
        turned,
        columns + shifts[0],
        rows + shifts[1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )


def gaussian_blur(image: Image, deviation: float, *, reach: float = 4.0) -> Image:
    """Blurred by a Gaussian, cut off after so many deviations; the border is repeated."""
    side = 2 * int(reach * deviation + 0.5) + 1
    return cv2.GaussianBlur(image, (side, side), deviation, borderType=cv2.BORDER_REPLICATE)


def trail(image: Image, radius: int, deviation: float, *, angle: float) -> Image:
    """Each point as a trail to one side, 2 * radius + 1 long, whose weights fall as a Gaussian."""
    length = 2 * radius + 1
    weights = np.exp(-0.5 * (np.arange(length, dtype=np.float32) / deviation) ** 2)
    line = np.zeros((2 * length - 1, 2 * length - 1), np.float32)
    line[length - 1, length - 1 :] = weights
    turn = cv2.getRotationMatrix2D((length - 1, length - 1), angle, 1)
    kernel = cv2.warpAffine(line, turn, line.shape)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101)


def enlarged(image: Image, factor: float) -> Image:
    """The middle of the image, so many times larger, in the size of the image."""
    height, width = image.shape[:2]
    around = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), 0, factor)
    return cv2.warpAffine(image, around, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _exchanged(image: Image, reach: int, rounds: int, generator: np.random.Generator) -> Image:
    """Each pixel but those of the border exchanged with one at most `reach` away, in turn.

    The exchanges follow each other, from the last pixel to the first, so that a pixel may travel;
    done on a list of positions, which is much faster than on the pixels.
    """
    height, width = image.shape[:2]
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    if not len(rows) or not len(columns):
        return image
    here = (rows[:, None] * width + columns).ravel()
    places = list(range(height * width))
    for _ in range(rounds):
        steps = generator.integers(-reach, reach, (len(here), 2))
        there = here + steps[:, 0] * width + steps[:, 1]
        for a, b in zip(here.tolist(), there.tolist(), strict=True):
            places[a], places[b] = places[b], places[a]
    flat = image.reshape(height * width, -1)
    return flat[np.asarray(places)].reshape(image.shape)
