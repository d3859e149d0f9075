"""Overlays: colours, opacity, pixels without a class, the legend."""

from __future__ import annotations

import numpy as np
import pytest

from uda.reports.overlay import Overlay

PALETTE = [(200, 0, 0), (0, 100, 0)]


def test_values() -> None:
    """0.25 * 200 + 0.75 * 80 = 110 and 0.75 * 80 = 60; train id 255 leaves the image."""
    image = np.full((1, 3, 3), 80, np.uint8)
    label = np.array([[0, 1, 255]], np.uint8)
    found = Overlay(["a", "b"], PALETTE, opacity=0.25)(image, label, legend=False)
    assert found.tolist() == [[[110, 60, 60], [60, 85, 60], [80, 80, 80]]]


@pytest.mark.parametrize("width", [30, 200, 500])
def test_legend_names_every_class(width: int) -> None:
    """A square of each colour; narrow images get room at the right."""
    names = ["road", "a class with a long name"] * 4
    palette = [(10 * k, 255 - k, k) for k in range(8)]
    image, label = np.zeros((20, width, 3), np.uint8), np.full((20, width), 255, np.uint8)
    found = Overlay(names, palette)(image, label)
    assert found.shape[1] >= width
    assert (found[:20, :width] == 0).all()
    assert (found[:20, width:] == 255).all()
    for colour in palette:
        assert (found[20:] == colour).all(-1).sum() == 12 * 12


def test_errors() -> None:
    """Colours, opacity and sizes that do not fit."""
    with pytest.raises(ValueError, match="got 2 colours for 1 classes"):
        Overlay(["a"], PALETTE)
    with pytest.raises(ValueError, match=r"opacity has to lie in \[0, 1\], not 2"):
        Overlay(["a", "b"], PALETTE, opacity=2)
    with pytest.raises(ValueError, match=r"of one size, got \(2, 2\) and \(2, 3\)"):
        Overlay(["a", "b"], PALETTE)(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3), np.uint8))
