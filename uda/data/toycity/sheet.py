"""A contact sheet of both domains with their labels in colour."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from uda.data.toycity.png import PALETTE
from uda.data.toycity.render import render
from uda.data.toycity.style import Style


def colour_label(label: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGB picture of a trainId map; 255 is black.

    Example:
        >>> colour_label(np.array([[0, 255]], np.uint8)).tolist()
        [[[128, 64, 128], [0, 0, 0]]]
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(PALETTE)] = PALETTE
    return np.asarray(table[label], np.uint8)


def contact_sheet(
    *, seed: int = 0, rows: int = 6, size: tuple[int, int] = (240, 320), first: int = 0
) -> npt.NDArray[np.uint8]:
    """Source image and label beside target image and label, one pair a row.

    Args:
        seed: Seed of the scenes.
        rows: Rows, >= 1.
        size: Height and width of each picture in pixels.
        first: Index of the first scene.

    Returns:
        (rows * H, 4 * W, 3) uint8 RGB.

    Example:
        >>> contact_sheet(rows=1, size=(64, 96)).shape
        (64, 384, 3)
    """
    if rows < 1:
        raise ValueError(f"a contact sheet needs at least one row, got {rows}")
    lines = []
    for index in range(first, first + rows):
        cells = []
        for style in (Style.source(), Style.target()):
            image, label = render(seed, index, style, size)
            cells += [image, colour_label(label)]
        lines.append(np.hstack(cells))
    return np.asarray(np.vstack(lines), np.uint8)
