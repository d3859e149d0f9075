"""Trees and bushes: pictures of crowns grown once a process, tinted and scaled for each tree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from uda.data.toycity.canvas import Canvas
from uda.data.toycity.scene import Scene, Tree
from uda.data.toycity.textures import TextureBank, crop_tile, texture_bank

VEGETATION = 8
_SIDE = 224  # pixels of a crown picture
_COUNT = 9  # pictures of a kind
_TRUNK_SHARE = {"leafy": 0.28, "bare": 0.16, "conifer": 0.08, "bush": 0.0}
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Crown:
    """Brightness, cover and wood of a tree, uint8 (224, 224).

    Attributes:
        light: Brightness of leaves and wood, 128 is the material's own colour.
        alpha: Cover.
        wood: Where wood shows instead of leaves.
        labelled: Where the label says vegetation: the hull of a bare crown, holes included.
    """

    light: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8]
    wood: npt.NDArray[np.uint8]
    labelled: npt.NDArray[np.uint8]

    def half(self) -> Crown:
        """The same crown at half the size."""
        side = self.light.shape[0] // 2
        light, alpha, wood, labelled = (
            np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
            for part in (self.light, self.alpha, self.wood, self.labelled)
        )
        return Crown(light, alpha, wood, labelled)


Pyramid = tuple[Crown, ...]  # full size, half, quarter, eighth


def _pyramid(crown: Crown) -> Pyramid:
    levels = [crown]
    for _ in range(3):
        levels.append(levels[-1].half())
    return tuple(levels)


@lru_cache(maxsize=4)
def crowns(family: str) -> dict[str, tuple[Pyramid, ...]]:
    """Pictures by kind (leafy, bare, conifer, bush) of a texture family."""
    bank = texture_bank(family)
    rng = np.random.default_rng(7 if family == "game" else 8)
    made = {
        kind: tuple(_pyramid(_leafy(rng, bank, kind)) for _ in range(_COUNT))
        for kind in ("leafy", "conifer", "bush")
    }
    made["bare"] = tuple(_pyramid(_bare(rng)) for _ in range(_COUNT))
    return made


def _leafy(rng: np.random.Generator, bank: TextureBank, kind: str) -> Crown:
    """A crown of overlapping clumps with ragged edges, lit from above."""
    shape = (_SIDE, _SIDE)
    v, u = (np.mgrid[0:_SIDE, 0:_SIDE] / np.float32(_SIDE)).astype(np.float32)
    # Bent coordinates give clumps the outline of foliage instead of discs.
    u = u + np.float32(0.022) * crop_tile(bank.medium, rng, shape)
    v = v + np.float32(0.022) * crop_tile(bank.medium, rng, shape)
    light = np.full(shape, 0.5, np.float32)
    cover = _core(u, v, kind)
    for x, y, radius in _clumps(rng, kind):
        middle, reach = (int(y * _SIDE), int(x * _SIDE)), int((radius + 0.08) * _SIDE)
        rows = slice(max(0, middle[0] - reach), max(0, middle[0] + reach))
        columns = slice(max(0, middle[1] - reach), max(0, middle[1] + reach))
        across, down = (u[rows, columns] - x) / radius, (v[rows, columns] - y) / radius
        inside = 1 - across**2 - down**2
        clump = 0.75 - 0.4 * down - 0.15 * across + 0.3 * (0.5 - y) + float(rng.normal(0, 0.1))
        light[rows, columns] = np.where(inside > 0, clump, light[rows, columns])
        cover[rows, columns] = np.maximum(cover[rows, columns], inside)
    ragged = np.float32(0.12) * crop_tile(bank.medium, rng, shape)
    ragged = ragged + np.float32(0.16) * crop_tile(bank.fine, rng, shape)
    alpha = np.clip((cover - 0.16 + ragged) * 4, 0, 1)
    leaves = crop_tile(bank.leaves[int(rng.integers(4))], rng, light.shape) / np.float32(128)
    light = np.asarray(np.clip(light, 0.25, 1.5) * leaves, np.float32)
    wood = np.zeros((_SIDE, _SIDE), np.uint8)
    share = _TRUNK_SHARE[kind]
    if share > 0:
        _trunk(rng, wood, share)
    bare_wood = (wood > 127) & (alpha < 0.5)
    alpha = np.maximum(alpha, bare_wood)
    bark = np.float32(0.9) + np.float32(0.2) * crop_tile(bank.fine, rng, light.shape)
    light = np.where(bare_wood, bark, light)
    cover8 = (alpha * 255).astype(np.uint8)
    hull = np.where(cv2.blur(cover8, (7, 7)) > 110, 255, cover8).astype(np.uint8)
    return Crown(
        np.clip(light * 128, 0, 255).astype(np.uint8),
        cover8,
        (bare_wood * 255).astype(np.uint8),
        hull,
    )


def _core(u: Floats, v: Floats, kind: str) -> Floats:
    """Cover of the dense inside of a crown, so that clumps hang together."""
    end = 1 - _TRUNK_SHARE[kind]
    if kind == "conifer":
        return np.asarray(np.minimum(0.32 * v / end - np.abs(u - 0.5), (end - v)) * 6, np.float32)
    middle = 0.55 * end if kind == "leafy" else 0.75
    shape = 1 - ((u - 0.5) / 0.33) ** 2 - ((v - middle) / (0.36 if kind == "leafy" else 0.5)) ** 2
    return np.asarray(shape, np.float32)


def _clumps(rng: np.random.Generator, kind: str) -> list[tuple[float, float, float]]:
    """Centres and radii (share of the picture) of the clumps, back to front."""
    crown_end = 1 - _TRUNK_SHARE[kind]
    count = {"leafy": 90, "conifer": 150, "bush": 70}[kind]
    clumps = []
    for _ in range(count):
        y = float(rng.uniform(0.1, crown_end - 0.05))
        share = y / crown_end
        half = math.sqrt(max(0.02, 1 - (2 * share - 1) ** 2)) * 0.42
        if kind == "conifer":
            half = 0.06 + 0.38 * share
        if kind == "bush":
            half = 0.46 * math.sqrt(share)
        radius = float(rng.uniform(0.05, 0.12)) * (0.55 if kind == "conifer" else 1)
        x = 0.5 + float(rng.uniform(-1, 1)) * max(0.02, half - radius)
        clumps.append((x, max(y, radius), radius))
    return clumps


def _trunk(rng: np.random.Generator, wood: npt.NDArray[np.uint8], share: float) -> None:
    """A trunk from the foot into the crown."""
    foot, top = _SIDE // 2, int(_SIDE * (1 - share - 0.25))
    lean = int(rng.integers(-12, 13))
    thick = float(rng.uniform(3, 7))
    polygon = [
        (foot - thick * 1.4, _SIDE), (foot + lean - thick * 0.5, top),
        (foot + lean + thick * 0.5, top), (foot + thick * 1.4, _SIDE),
    ]  # fmt: skip
    cv2.fillPoly(wood, [np.array(polygon).astype(np.int32)], 255)


def _bare(rng: np.random.Generator) -> Crown:
    """A leafless tree: branches that fork, drawn thinner and thinner."""
    wood = np.zeros((_SIDE * 2, _SIDE * 2), np.uint8)
    side = 2 * _SIDE
    start = (side / 2, float(side))
    spread = float(rng.uniform(0.34, 0.62))
    up = float(rng.uniform(0.0, 0.14))
    _branch(rng, wood, start, -math.pi / 2, side * 0.16, rng.uniform(9, 14), spread, up, 0)
    wood = cv2.resize(wood, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    alpha = np.clip(wood.astype(np.float32) * 1.2, 0, 255).astype(np.uint8)
    dense = cv2.blur(alpha, (13, 13))
    labelled = np.where((dense > 22) | (alpha > 150), 255, 0).astype(np.uint8)
    light = np.full((_SIDE, _SIDE), 100, np.uint8)
    return Crown(light, alpha, np.full((_SIDE, _SIDE), 255, np.uint8), labelled)


def _branch(
    rng: np.random.Generator,
    wood: npt.NDArray[np.uint8],
    start: tuple[float, float],
    heading: float,
    length: float,
    thick: float,
    spread: float,
    up: float,
    level: int,
) -> None:
    """One branch and its forks; lengths in pixels, angles in radians."""
    end = (start[0] + length * math.cos(heading), start[1] + length * math.sin(heading))
    first, last = (round(start[0]), round(start[1])), (round(end[0]), round(end[1]))
    cv2.line(wood, first, last, 255, max(1, round(thick)), cv2.LINE_AA)
    if level >= 8:
        return
    for _ in range(2 if level == 0 or rng.random() < 0.8 else 3):
        turn = float(rng.normal(0, spread))
        following = heading + turn
        following += up * (-math.pi / 2 - following)
        reach = length * float(rng.uniform(0.72, 0.98))
        _branch(rng, wood, end, following, reach, thick * 0.62, spread, up, level + 1)


def draw_tree(
    canvas: Canvas, scene: Scene, tree: Tree, family: str, rng: np.random.Generator
) -> None:
    """Paint one tree."""
    kinds = crowns(family)[tree.kind]
    pyramid = kinds[int(rng.integers(len(kinds)))]
    flip = rng.random() < 0.5
    column, row = scene.camera.foot(tree.x, tree.depth)
    scale = scene.camera.scale_at(tree.depth)
    left, right = column - tree.width * scale / 2, column + tree.width * scale / 2
    top = row - tree.height * scale
    if right < 0 or left > canvas.width or right - left < 2:
        return
    level = int(np.clip(math.log2(_SIDE / max(tree.height * scale, 1.0)), 0, len(pyramid) - 1))
    crown = pyramid[level]
    picture = _tint(crown, scene, tree, rng)
    labelled = crown.labelled
    if flip:
        picture = np.ascontiguousarray(picture[:, ::-1])
        labelled = np.ascontiguousarray(labelled[:, ::-1])
    canvas.sprite((left, top, right, row), picture, VEGETATION, labelled)


@lru_cache(maxsize=1)
def _curve() -> Floats:
    """Answer of the RGB channels to brightness, (256, 3): lit leaves turn yellow."""
    steps = np.arange(256, dtype=np.float32) / 128
    return np.stack([steps**0.95, steps**0.97, steps**1.1], axis=1)


def _tint(
    crown: Crown, scene: Scene, tree: Tree, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """RGBA of a crown in a tree's colours under the street's light."""
    light = scene.light
    bright = (light.top + light.front) / 2 * float(rng.uniform(0.85, 1.25))
    level = float(rng.uniform(52, 120))
    bark = (level * 1.08, level, level * 0.9)
    table = np.empty((1, 256, 4), np.uint8)
    wooden = np.empty((1, 256, 4), np.uint8)
    for target, colour in ((table, tree.colour), (wooden, bark)):
        base = np.array(light.paint((0.0, 0.0, 0.0), bright, tree.depth), np.float32)
        full = np.array(light.paint(colour, bright, tree.depth), np.float32)
        target[0, :, :3] = np.minimum(base + (full - base) * _curve(), 255)
        target[0, :, 3] = 255
    gray = cv2.merge([crown.light] * 4)
    picture = np.asarray(cv2.LUT(gray, table), np.uint8)
    cv2.copyTo(cv2.LUT(gray, wooden), crown.wood, picture)
    picture[:, :, 3] = crown.alpha
    return picture
