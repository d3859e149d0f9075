"""Corruptions: hand values, growing with severity, repeatable, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from uda.data import distortion, weather
from uda.data.corruptions import SEVERITIES, corrupt


def picture() -> np.ndarray:
    """Coarse random squares under a shade, so that blur, noise and storage all change it."""
    generator = np.random.default_rng(0)
    squares = generator.integers(40, 200, (8, 8, 3)).repeat(9, 0).repeat(9, 1)[:64, :64]
    shade = np.linspace(0, 40, 64)[:, None, None]
    return (squares + shade).astype(np.uint8)


def changed(name: str, severity: int, seed: int = 0) -> np.ndarray:
    return corrupt(picture(), name, severity, np.random.default_rng(seed))


# Frost and elastic transformation change in kind: their first severities move more than the last.
GROWING = [name for name in SEVERITIES if name not in ("frost", "elastic_transform")]


def test_all_of_imagenet_c() -> None:
    """The fifteen of the benchmark, in its order, five settings each, no two alike."""
    assert list(SEVERITIES) == [
        "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur",
        "motion_blur", "zoom_blur", "snow", "frost", "fog", "brightness", "contrast",
        "elastic_transform", "pixelate", "jpeg_compression",
    ]  # fmt: skip
    assert all(len(set(settings)) == 5 for settings in SEVERITIES.values())


@pytest.mark.parametrize("name", SEVERITIES)
def test_corrupt_properties(name: str) -> None:
    """Of the same size, repeatable, another at each severity, and the picture stays."""
    before, results = picture(), []
    for severity in range(1, 6):
        found = changed(name, severity)
        assert (found.shape, found.dtype) == ((64, 64, 3), np.uint8)
        assert np.array_equal(found, changed(name, severity))
        assert all(not np.array_equal(found, other) for other in [before, *results])
        results.append(found)
    assert np.array_equal(before, picture())


@pytest.mark.parametrize("name", GROWING)
def test_corrupt_grows(name: str) -> None:
    """The strongest is further from the picture than the weakest."""
    errors = [np.abs(changed(name, s).astype(float) - picture()).mean() for s in (1, 5)]
    assert 0 < errors[0] < errors[1]


@pytest.mark.parametrize("name", SEVERITIES)
@pytest.mark.parametrize("size", [(5, 7), (3, 40), (90, 64)], ids=str)
def test_corrupt_shapes(name: str, size: tuple[int, int]) -> None:
    """Any size, also smaller than kernels and exchanges."""
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert corrupt(image, name, 5, np.random.default_rng(0)).shape == image.shape


@pytest.mark.parametrize("name", ["snow", "frost", "glass_blur", "elastic_transform"])
def test_corrupt_draws(name: str) -> None:
    """Another generator draws something else."""
    assert not np.array_equal(changed(name, 3, seed=0), changed(name, 3, seed=1))


def test_corrupt_values() -> None:
    """A fifth of the contrast about the mean; half of the pixels at a quarter of their number."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = 200
    found = corrupt(image, "contrast", 3, np.random.default_rng(0))  # 100 +- 20
    assert found[:, 0, 0].tolist() == [120, 80]
    pixelated = changed("pixelate", 5)[:, :, 0]  # 64 pixels to 16: squares of 4 alike
    assert np.array_equal(pixelated[::4], pixelated[3::4])
    grey = np.full((64, 64, 3), 128, np.uint8)
    noisy = corrupt(grey, "gaussian_noise", 2, np.random.default_rng(0)) / 255
    assert noisy.std() == pytest.approx(0.12, rel=0.05)
    impulses = corrupt(grey, "impulse_noise", 5, np.random.default_rng(0))
    assert (impulses != 128).mean() == pytest.approx(0.27, abs=0.02)
    for name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "elastic_transform"):
        assert np.array_equal(corrupt(grey, name, 5, np.random.default_rng(0)), grey)


def test_exchanged_values() -> None:
    """Glass exchanges pixels: each is still there, most have moved."""
    numbers = np.arange(20 * 24, dtype=np.float32).reshape(20, 24)
    found = distortion._exchanged(numbers, 2, 1, np.random.default_rng(0))
    assert np.array_equal(np.sort(found.ravel()), numbers.ravel())
    assert (found != numbers).mean() > 0.5
    assert np.array_equal(found[0, 0], numbers[0, 0])  # no exchange reaches the corner


def test_trail_values() -> None:
    """A point at an angle of 0 becomes 3 pixels of one side, weights exp(0), exp(-1/2), exp(-2)."""
    point = np.zeros((9, 9), np.float32)
    point[4, 4] = 1
    found = distortion.trail(point, 1, 1.0, angle=0)
    weights = np.exp([0.0, -0.5, -2.0])
    shown = np.sort(found[4][found[4] > 0])[::-1]
    assert shown == pytest.approx(weights / weights.sum(), rel=1e-4)
    assert np.count_nonzero(found) == 3


def test_elastic_values() -> None:
    """Without strength and pull nothing moves; with a pull a straight edge stays straight."""
    image = picture().astype(np.float32) / 255
    still = distortion.elastic_transform(image, (0.0, 1.0, 0.0), np.random.default_rng(0))
    assert still == pytest.approx(image, abs=1e-5)
    ramp = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], 64, 0).repeat(3, 2)
    pulled = distortion.elastic_transform(ramp, (0.0, 1.0, 3.0), np.random.default_rng(0))
    inner = pulled[16:48, 16:48, 0]
    assert np.abs(np.diff(inner, n=2, axis=1)).max() < 2e-3  # linear: an affine map of a ramp


def test_weather_values() -> None:
    """Frost of no weight dims the image; snow adds 0.5 * (1 - share) to black at least."""
    image = picture().astype(np.float32) / 255
    dimmed = weather.frost(image, (0.7, 0.0), np.random.default_rng(0))
    assert dimmed == pytest.approx(0.7 * image, abs=1e-6)
    black = np.zeros((96, 96, 3), np.float32)
    snowed = weather.snow(black, (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55), np.random.default_rng(0))
    assert snowed.min() >= 0.45 * 0.5 - 1e-6
    assert snowed.max() > 0.4  # flakes
    ice = weather.frost(black, (1.0, 1.0), np.random.default_rng(0))
    assert 0 <= ice.min() < 0.2 < 0.6 < ice.max() <= 1


@pytest.mark.parametrize(
    ("image", "name", "severity", "message"),
    [
        (picture(), "hail", 1, "no corruption 'hail'; known: gaussian_noise"),
        (picture(), "fog", 6, "severity is a number from 1 to 5, not 6"),
        (picture()[..., 0], "fog", 1, r"an image \(H, W, 3\) of uint8, not \(64, 64\)"),
        (picture() / 255.0, "fog", 1, "not .* of float64"),
    ],
    ids=["name", "severity", "grey", "float"],
)
def test_corrupt_errors(image: np.ndarray, name: str, severity: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(image, name, severity, np.random.default_rng(0))
