"""Corruptions: hand values, growing with severity, repeatable, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from uda.data.corruptions import SEVERITIES, corrupt


def picture() -> np.ndarray:
    """Coarse random squares with a shade over them, so that blur, noise and storage all change it."""
    generator = np.random.default_rng(0)
    squares = generator.integers(40, 200, (8, 8, 3)).repeat(9, 0).repeat(9, 1)[:64, :64]
    shade = np.linspace(0, 40, 64)[:, None, None]
    return (squares + shade).astype(np.uint8)


def changed(name: str, severity: int, seed: int = 0) -> np.ndarray:
    return corrupt(picture(), name, severity, np.random.default_rng(seed))


@pytest.mark.parametrize("name", SEVERITIES)
def test_corrupt_properties(name: str) -> None:
    """Of the same size, repeatable, and the strongest is further from the picture than the weakest."""
    errors = []
    for severity in (1, 5):
        found = changed(name, severity)
        assert (found.shape, found.dtype) == ((64, 64, 3), np.uint8)
        assert np.array_equal(found, changed(name, severity))
        errors.append(np.abs(found.astype(float) - picture()).mean())
    assert 0 < errors[0] < errors[1]


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
    for name in ("defocus_blur", "motion_blur", "zoom_blur"):
        assert np.array_equal(corrupt(grey, name, 5, np.random.default_rng(0)), grey)


@pytest.mark.parametrize(
    ("image", "name", "severity", "message"),
    [
        (picture(), "frost", 1, "no corruption 'frost'; known: gaussian_noise"),
        (picture(), "fog", 6, "severity is a number from 1 to 5, not 6"),
        (picture()[..., 0], "fog", 1, r"an image \(H, W, 3\) of uint8, not \(64, 64\)"),
        (picture() / 255.0, "fog", 1, "not .* of float64"),
    ],
    ids=["name", "severity", "grey", "float"],
)
def test_corrupt_errors(image: np.ndarray, name: str, severity: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corrupt(image, name, severity, np.random.default_rng(0))
