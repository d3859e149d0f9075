"""Colours of materials, drawn around real ones."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from uda.data.toycity.canvas import Colour

_WALLS: dict[str, list[Colour]] = {
    "brick": [(134, 84, 66), (150, 104, 78), (176, 148, 108), (112, 78, 66), (158, 130, 104)],
    "stone": [(178, 166, 142), (150, 144, 132), (196, 184, 158), (128, 122, 112)],
    "stucco": [(226, 222, 212), (214, 200, 170), (232, 226, 196), (190, 196, 198), (206, 176, 150)],
    "concrete": [(156, 154, 150), (130, 130, 130), (182, 180, 174), (110, 114, 118)],
    "panel": [(196, 200, 204), (92, 104, 118), (150, 160, 168), (220, 220, 216)],
}
_CARS: list[Colour] = [
    (40, 42, 46), (86, 88, 94), (160, 164, 170), (200, 202, 206), (234, 234, 232), (176, 180, 186),
    (36, 52, 96),
    (128, 26, 30), (160, 40, 36), (28, 66, 58), (92, 112, 140), (190, 170, 120), (60, 84, 132),
]  # fmt: skip
_LEAVES: list[Colour] = [
    (84, 98, 58), (66, 80, 50), (98, 110, 66), (116, 118, 76), (58, 70, 52), (90, 104, 62),
    (128, 112, 78), (92, 86, 66),
]  # fmt: skip
_CLOTHES: list[Colour] = [
    (28, 28, 32), (40, 42, 52), (60, 56, 54), (34, 44, 76), (88, 84, 80), (120, 34, 38),
    (30, 30, 34), (36, 40, 50), (150, 140, 126), (54, 74, 60), (196, 194, 190),
    (140, 110, 76), (170, 60, 50),
]  # fmt: skip
_SKIN: list[Colour] = [(206, 164, 138), (224, 184, 158), (150, 108, 82), (96, 66, 52)]
_HAIR: list[Colour] = [(40, 32, 28), (80, 58, 40), (132, 104, 66), (120, 118, 114), (24, 22, 22)]
_ROOFS: list[Colour] = [(96, 72, 62), (92, 92, 96), (70, 68, 70), (134, 82, 60), (112, 104, 96)]
# Repeated by how common they are.
WALL_NAMES = (
    *("brick",) * 7, *("stone",) * 3, *("stucco",) * 6, *("concrete",) * 3, "panel",
)  # fmt: skip
Option = TypeVar("Option")


def vary(rng: np.random.Generator, colour: Colour, spread: float = 0.12) -> Colour:
    """A colour near another: brightness by a factor, channels by a smaller one."""
    gain, *tint = rng.standard_normal(4)
    gain = 1 + spread * gain
    red, green, blue = (
        min(252.0, max(4.0, float(value * gain * (1 + 0.3 * spread * shift))))
        for value, shift in zip(colour, tint, strict=True)
    )
    return red, green, blue


def choose(rng: np.random.Generator, options: Sequence[Option]) -> Option:
    """One of the options, each as likely; repeat one to make it likelier."""
    return options[int(rng.random() * len(options))]


def _pick(rng: np.random.Generator, colours: Sequence[Colour], spread: float = 0.12) -> Colour:
    return vary(rng, choose(rng, colours), spread)


def wall_colour(rng: np.random.Generator, material: str) -> Colour:
    """RGB of a facade; one in twelve stucco walls is painted in any hue."""
    if material == "stucco" and rng.random() < 0.12:
        return bright_colour(rng, 0.35)
    return _pick(rng, _WALLS[material], 0.15)


def bright_colour(rng: np.random.Generator, saturation: float | None = None) -> Colour:
    """RGB of paint, signs and shop boards in any hue."""
    strength = rng.uniform(0.3, 0.9) if saturation is None else saturation
    rgb = colorsys.hsv_to_rgb(rng.random(), strength, rng.uniform(0.25, 0.85))
    return rgb[0] * 255, rgb[1] * 255, rgb[2] * 255


def car_colour(rng: np.random.Generator) -> Colour:
    """RGB of car paint: mostly black, grey, silver, white, blue, red."""
    return _pick(rng, _CARS, 0.15)


def leaf_colour(rng: np.random.Generator) -> Colour:
    """RGB of foliage."""
    return _pick(rng, _LEAVES, 0.2)


def cloth_colour(rng: np.random.Generator) -> Colour:
    """RGB of clothes, mostly dark."""
    return _pick(rng, _CLOTHES, 0.2)


def skin_colour(rng: np.random.Generator) -> Colour:
    """RGB of skin."""
    return _pick(rng, _SKIN, 0.08)


def hair_colour(rng: np.random.Generator) -> Colour:
    """RGB of hair."""
    return _pick(rng, _HAIR, 0.1)


def roof_colour(rng: np.random.Generator) -> Colour:
    """RGB of tiles and slate."""
    return _pick(rng, _ROOFS, 0.12)
