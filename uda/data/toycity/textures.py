"""Tiles of fractal noise, masonry, paving and asphalt, built once a process from a fixed seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

Tile = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Number = TypeVar("Number", np.float32, np.uint8)
TILE = 256  # pixels, period of every tile
_REPEAT = 3  # stored periods, so that most windows are plain slices
_FAMILIES = {"game": 101, "film": 202}


def fractal_noise(rng: np.random.Generator, slope: float, size: int = TILE) -> Tile:
    """Tileable noise with amplitude spectrum 1 / frequency^slope, mean 0, standard deviation 1.

    Args:
        rng: Source of the white noise.
        slope: 0 is white; 1 looks like a photograph's statistics; 2 is smooth.
        size: Side in pixels.

    Returns:
        (size, size) float32 that continues at opposite borders.

    Example:
        >>> tile = fractal_noise(np.random.default_rng(0), 1.0, 32)
        >>> tile.shape, bool(abs(tile.mean()) < 1e-4)
        ((32, 32), True)
    """
    white = rng.standard_normal((size, size))
    rows = np.fft.fftfreq(size)[:, None]
    columns = np.fft.rfftfreq(size)[None, :]
    frequency = np.sqrt(rows**2 + columns**2)
    frequency[0, 0] = 1.0
    gain = frequency**-slope
    gain[0, 0] = 0.0
    noise = np.fft.irfft2(np.fft.rfft2(white) * gain, s=(size, size))
    return np.asarray(noise / noise.std(), np.float32)


def crop_tile(
    tile: npt.NDArray[Number], rng: np.random.Generator, shape: tuple[int, int]
) -> npt.NDArray[Number]:
    """A random window of a tile, repeated as far as the shape (rows, columns) needs."""
    rows, columns = shape
    top, left = (int(value) for value in rng.integers(0, TILE, 2))
    if top + rows <= tile.shape[0] and left + columns <= tile.shape[1]:
        return tile[top : top + rows, left : left + columns]
    row_index = (top + np.arange(rows)) % TILE
    column_index = (left + np.arange(columns)) % TILE
    return tile[row_index[:, None], column_index[None, :]]


def _courses(rng: np.random.Generator, row: int, column: int, joint: float, spread: float) -> Tile:
    """Masonry or slabs as a brightness factor around 1: rows of blocks with joints between."""
    tile = np.ones((TILE, TILE), np.float32)
    for number, top in enumerate(range(0, TILE, row)):
        shift = (number % 2) * column // 2
        for left in range(-shift, TILE, column):
            value = float(1 + spread * rng.standard_normal())
            cv2.rectangle(tile, (left + 1, top + 1), (left + column - 1, top + row - 1), value, -1)
            cv2.line(tile, (left, top), (left, top + row - 1), joint, 1)
        cv2.line(tile, (0, top), (TILE, top), joint, 1)
    return tile


def _asphalt(rng: np.random.Generator, grain: float) -> Tile:
    """Asphalt as a brightness factor: grain, stains and a few cracks."""
    tile = 1 + grain * fractal_noise(rng, 0.3) + 0.05 * fractal_noise(rng, 1.4)
    for _ in range(6):
        point = rng.uniform(0, TILE, 2)
        heading = rng.uniform(0, 2 * np.pi)
        for _ in range(14):
            heading += rng.normal(0, 0.5)
            following = point + 7 * np.array([np.cos(heading), np.sin(heading)])
            start, end = point.astype(int).tolist(), following.astype(int).tolist()
            cv2.line(tile, start, end, 0.78, 1, cv2.LINE_AA)
            point = following
    return tile.astype(np.float32)


def _grass(rng: np.random.Generator) -> Tile:
    """Grass and earth as a brightness factor."""
    return 1 + 0.16 * fractal_noise(rng, 0.5) + 0.12 * fractal_noise(rng, 1.3)


def _leaves(rng: np.random.Generator) -> Tile:
    """Clumps of leaves as a brightness factor: dark gaps, light tips."""
    clumps = 0.6 * fractal_noise(rng, 0.95) + 0.4 * fractal_noise(rng, 1.5)
    return np.clip(0.95 + 0.38 * clumps, 0.12, 2.2).astype(np.float32)


def wrap(position: Tile) -> Tile:
    """Positions modulo the period of a tile; much faster than `np.mod`."""
    return np.asarray(position - np.floor(position * (1 / TILE)) * TILE, np.float32)


def _repeated(tile: Tile) -> Tile:
    return np.tile(tile, (_REPEAT, _REPEAT)).astype(np.float32)


def _bytes(tile: Tile) -> Bytes:
    """Brightness factors as uint8, 128 is 1."""
    return np.clip(_repeated(tile) * 128, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class TextureBank:
    """Tiles of one texture family, (768, 768): three periods of 256 in each direction.

    Attributes:
        soft: Noise of slope 1.7, for clouds, stains and broad shading.
        medium: Noise of slope 1.0.
        fine: Noise of slope 0.4.
        white: White noise, for the sensor.
        walls: Uint8 brightness by name: brick, stone, stucco, concrete, panel; 128 is 1.
        ground: (257, 4 * 257) uint8 strip of tiles side by side: asphalt, slabs, grass, setts.
        leaves: Uint8 brightness of foliage.
        grime: Uint8 brightness of weathered walls, from clean to dirty.
    """

    soft: Tile
    medium: Tile
    fine: Tile
    white: Tile
    walls: dict[str, Bytes]
    ground: Bytes
    leaves: tuple[Bytes, ...]
    grime: tuple[Bytes, ...]


@lru_cache(maxsize=4)
def texture_bank(family: str) -> TextureBank:
    """The tiles of a family ("game" or "film"), the same in every process.

    Raises:
        ValueError: The family has no entry.
    """
    if family not in _FAMILIES:
        raise ValueError(f"texture family must be one of {sorted(_FAMILIES)}, got {family!r}")
    rng = np.random.default_rng(_FAMILIES[family])
    crisp = family == "game"
    soft, medium, fine = (fractal_noise(rng, slope) for slope in (1.7, 1.0, 0.4))
    weather = 1 + 0.06 * medium
    walls = {
        "brick": _courses(rng, 5, 12, 1.25 if crisp else 0.72, 0.11) * weather,
        "stone": _courses(rng, 16, 32, 0.75, 0.09) * (1 + 0.07 * fractal_noise(rng, 0.8)),
        "stucco": 1 + 0.05 * fractal_noise(rng, 0.6) + 0.05 * soft,
        "concrete": _courses(rng, 64, 64, 0.8, 0.04) * (1 + 0.08 * fractal_noise(rng, 1.2)),
        "panel": _courses(rng, 32, 128, 0.85, 0.06) * (1 + 0.02 * fine),
    }
    strips = [
        _asphalt(rng, 0.09 if crisp else 0.13),
        _courses(rng, 32, 43 if crisp else 64, 0.72, 0.07) * (1 + 0.07 * fractal_noise(rng, 0.5)),
        _grass(rng),
        _courses(rng, 12, 24, 0.7, 0.1) * (1 + 0.06 * fractal_noise(rng, 0.6)),
    ]
    # One column and row more: interpolation at the seam reads the tile's own beginning.
    strip = np.concatenate([np.pad(tile, ((0, 1), (0, 1)), mode="wrap") for tile in strips], axis=1)
    return TextureBank(
        soft=_repeated(soft),
        medium=_repeated(medium),
        fine=_repeated(fine),
        white=_repeated(fractal_noise(rng, 0.0)),
        walls={name: _bytes(tile) for name, tile in walls.items()},
        ground=np.clip(strip * 128, 0, 255).astype(np.uint8),
        leaves=tuple(_bytes(_leaves(rng)) for _ in range(4)),
        grime=tuple(
            _bytes(np.asarray(1 + dirt * (0.6 * medium + 0.6 * soft), np.float32))
            for dirt in (0.04, 0.1, 0.17)
        ),
    )
