"""Tiles with captions on a sheet, and a legend of colours below."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK = (255, 255, 255), (32, 32, 32)
_GAP, _TEXT, _SWATCH = 6, 14, 14
# Two greys that no palette of the field has, in stripes of this many pixels.
NOTHING, _LIGHT = (120, 120, 120), (214, 214, 214)
_HATCH = (NOTHING, _LIGHT)
_STRIPE = 3


class Tile(NamedTuple):
    """A picture with a caption.

    Attributes:
        caption: One line.
        pixels: (H, W, 3) uint8, RGB.
    """

    caption: str
    pixels: np.ndarray


def sheet(
    rows: Sequence[Sequence[Tile]], legend: Iterable[tuple[str, Sequence[int] | None]]
) -> np.ndarray:
    """Rows of tiles, each with its caption above, then the legend.

    Args:
        rows: Tiles of one size; rows without tiles are left out.
        legend: Names with their RGB colour, None for the hatch of `hatched`.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        ValueError: There is no tile.

    >>> tile = Tile("source", np.zeros((20, 200, 3), np.uint8))
    >>> sheet([[tile, tile]], [("road", (128, 64, 128))]).shape
    (78, 418, 3)
    """
    rows = [row for row in rows if row]
    if not rows:
        raise ValueError("A sheet needs at least one tile.")
    height, width = rows[0][0].pixels.shape[:2]
    total = _GAP + max(map(len, rows)) * (width + _GAP)
    font = ImageFont.load_default(size=_TEXT)
    places, bottom = _legend_places(list(legend), font, total)
    line = _TEXT + _GAP
    tiles_end = _GAP + len(rows) * (line + height + _GAP)
    paper = Image.new("RGB", (total, tiles_end + bottom), PAPER)
    draw = ImageDraw.Draw(paper)
    for number, row in enumerate(rows):
        top = _GAP + number * (line + height + _GAP)
        for column, tile in enumerate(row):
            left = _GAP + column * (width + _GAP)
            draw.text((left, top), _cut(tile.caption, font, width), INK, font)
            paper.paste(Image.fromarray(tile.pixels), (left, top + line))
    for (name, colour), (left, top) in places:
        box = (left, tiles_end + top, left + _SWATCH, tiles_end + top + _SWATCH)
        if colour is None:
            paper.paste(Image.fromarray(hatch(_SWATCH, _SWATCH)), box[:2])
        else:
            draw.rectangle(box, fill=tuple(colour))
        draw.rectangle(box, outline=INK)
        draw.text((left + _SWATCH + _GAP, box[1]), name, INK, font)
    return np.asarray(paper)


def hatch(height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8: diagonal stripes of two greys, which stand for no class."""
    row, column = np.arange(height)[:, None], np.arange(width)
    stripe = (row + column) // _STRIPE % 2
    return np.asarray(_HATCH, np.uint8)[stripe]


def hatched(colours: np.ndarray, where: np.ndarray) -> np.ndarray:
    """A picture with grey stripes over some pixels, between which their colours stay.

    Args:
        colours: (H, W, 3) uint8.
        where: (H, W) bool.
    """
    stripes = hatch(*where.shape)
    covered = where & (stripes[..., 0] == _HATCH[1][0])
    return np.where(covered[..., None], stripes, colours)


_Entry = tuple[str, "Sequence[int] | None"]


def _legend_places(
    entries: list[_Entry], font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> tuple[list[tuple[_Entry, tuple[int, int]]], int]:
    """Where each entry stands, line by line, and the height of all lines."""
    places, left, top = [], _GAP, 0
    for name, colour in entries:
        needed = _SWATCH + 2 * _GAP + int(font.getlength(name)) + _GAP
        if left > _GAP and left + needed > width:
            left, top = _GAP, top + _SWATCH + _GAP
        places.append(((name, colour), (left, top)))
        left += needed
    return places, top + _SWATCH + 2 * _GAP if places else 0


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """A text that is no wider than `width` pixels."""
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text
