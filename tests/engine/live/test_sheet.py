"""Sheets of tiles: sizes, hatch, legend."""

from __future__ import annotations

import numpy as np
import pytest

from uda.engine.live.sheet import INK, NOTHING, PAPER, Tile, hatch, hatched, sheet


def tile(colour: tuple[int, int, int], caption: str = "source image") -> Tile:
    """A tile of one colour, 100 x 40 pixels."""
    return Tile(caption, np.full((40, 100, 3), colour, np.uint8))


def colours_of(pixels: np.ndarray) -> set[tuple[int, ...]]:
    """The colours in a picture."""
    return {tuple(map(int, colour)) for colour in pixels.reshape(-1, 3)}


def test_sheet_values() -> None:
    """Two rows of 2 and 1 tiles, 6 pixels apart, captions of 20; a legend of one line below."""
    found = sheet([[tile((255, 0, 0)), tile((0, 255, 0))], [], [tile((0, 0, 255))]], [])
    assert found.shape == (6 + 2 * (20 + 40 + 6), 6 + 2 * 106, 3)
    assert found.dtype == np.uint8
    assert colours_of(found[26:66, 6:106]) == {(255, 0, 0)}
    assert colours_of(found[26:66, 112:212]) == {(0, 255, 0)}
    assert colours_of(found[92:132, 6:106]) == {(0, 0, 255)}
    assert colours_of(found[92:132, 112:212]) == {PAPER}
    assert np.abs(found[6:26, 6:106].astype(int) - PAPER[0]).max() > 100  # the caption


def test_sheet_legend_values() -> None:
    """Every colour of the legend and the hatch are there; many names take more lines."""
    few = sheet([[tile((0, 0, 0))]], [("road", (1, 2, 3)), ("rejected", None)])
    assert {(1, 2, 3), NOTHING, INK} <= colours_of(few[72:])
    names = [(f"class {number}", (number, 0, 0)) for number in range(1, 20)]
    many = sheet([[tile((0, 0, 0))]], names)
    assert len(many) > len(few)
    assert {colour for _, colour in names} <= colours_of(many[72:])


def test_sheet_caption_values() -> None:
    """A caption that is too long ends at its tile."""
    found = sheet([[tile((0, 0, 0), "a caption without end " * 9), tile((0, 0, 0), "")]], [])
    assert colours_of(found[6:24, 112:]) == {PAPER}


def test_sheet_errors() -> None:
    """There has to be something to show."""
    with pytest.raises(ValueError, match="A sheet needs at least one tile"):
        sheet([[]], [("road", (1, 2, 3))])


def test_hatched_values() -> None:
    """Half of the pixels that are hatched keep their colour; all others do."""
    colours = np.full((60, 60, 3), 7, np.uint8)
    where = np.zeros((60, 60), bool)
    where[:, :30] = True
    found = hatched(colours, where)
    assert colours_of(found[:, 30:]) == {(7, 7, 7)}
    kept = (found[:, :30] == 7).all(-1).mean()
    assert 0.4 < kept < 0.6
    assert colours_of(hatch(9, 9)) == {NOTHING, (214, 214, 214)}
