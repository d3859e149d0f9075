"""One image of ToyCity: sample a street, paint it from far to near, photograph it."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from uda.data.toycity.canvas import Canvas
from uda.data.toycity.facades import draw_building
from uda.data.toycity.finish import finish
from uda.data.toycity.furniture import draw_barrier, draw_pole
from uda.data.toycity.layout import HORIZON_DEPTH, sample_scene
from uda.data.toycity.people import draw_person
from uda.data.toycity.scene import Barrier, Person, Pole, Scene, Thing, Tree, Vehicle
from uda.data.toycity.sky import draw_sky
from uda.data.toycity.street import draw_ground
from uda.data.toycity.style import Style
from uda.data.toycity.textures import TextureBank, texture_bank
from uda.data.toycity.vegetation import draw_tree
from uda.data.toycity.vehicles import draw_vehicle

SMALLEST = (64, 64)  # height, width in pixels


def render(
    seed: int, index: int, style: Style, size: tuple[int, int] = (240, 320)
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """One image and its label, a pure function of the arguments.

    Args:
        seed: Seed of the data set, >= 0.
        index: Number of the image, >= 0.
        style: The domain.
        size: Height and width in pixels, at least 64 each.

    Returns:
        Image (H, W, 3) uint8 RGB and label (H, W) uint8 of trainIds 0-18.

    Raises:
        ValueError: Seed or index is negative or the size too small.

    Example:
        >>> image, label = render(0, 3, Style.source(), (96, 128))
        >>> image.shape, label.shape, int(label.max()) <= 18
        ((96, 128, 3), (96, 128), True)
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be >= 0, got seed {seed} and index {index}")
    if size[0] < SMALLEST[0] or size[1] < SMALLEST[1]:
        raise ValueError(
            f"size must be at least {SMALLEST} (height, width in pixels), got {tuple(size)}"
        )
    stream = zlib.crc32(style.name.encode())
    rng = np.random.default_rng((seed, stream, index))
    bank = texture_bank(style.family)
    scene = sample_scene(rng, style, size)
    canvas = paint_scene(scene, size, bank, style.family, rng)
    return finish(canvas.image, canvas.label, style, bank, rng), canvas.label


def paint_scene(
    scene: Scene, size: tuple[int, int], bank: TextureBank, family: str, rng: np.random.Generator
) -> Canvas:
    """The scene before lens and sensor.

    Args:
        scene: What stands where.
        size: Height and width in pixels.
        bank: Textures.
        family: Texture family of the tree crowns.
        rng: Randomness of the details.
    """
    canvas = Canvas(*size)
    draw_sky(canvas, scene.camera, scene.light, bank, rng)
    draw_ground(canvas, scene, bank, rng)
    background = [t for t in scene.things if isinstance(t, Tree) and _behind(t, scene)]
    for tree in background:
        draw_tree(canvas, scene, tree, family, rng)
    for building in scene.buildings:
        draw_building(canvas, scene, building, bank, rng)
    hidden = {id(tree) for tree in background}
    rest = [thing for thing in scene.things if id(thing) not in hidden]
    # A fence runs along the street: what stands outside of it is behind, whatever the depth.
    fences = sorted((t for t in rest if isinstance(t, Barrier)), key=lambda t: -abs(t.x))
    outside = [thing for thing in rest if _outside(thing, fences)]
    inside = [t for t in rest if not isinstance(t, Barrier) and not _outside(t, fences)]
    for thing in (*outside, *fences, *inside):
        _draw_thing(canvas, scene, thing, bank, family, rng)
    return canvas


def _outside(thing: Thing, fences: list[Barrier]) -> bool:
    """Whether a thing stands farther from the road than a fence on its side."""
    if isinstance(thing, Barrier):
        return False
    return any(fence.sign * (thing.x - fence.x) > 0 for fence in fences)


def _behind(tree: Tree, scene: Scene) -> bool:
    """Whether a tree stands behind the buildings, beside the street or at its end."""
    if tree.depth > HORIZON_DEPTH:
        return True
    side = scene.sides[0] if tree.x < 0 else scene.sides[1]
    return abs(tree.x) > abs(side.front) + 0.5 and side.built


def _draw_thing(
    canvas: Canvas,
    scene: Scene,
    thing: Thing,
    bank: TextureBank,
    family: str,
    rng: np.random.Generator,
) -> None:
    match thing:
        case Tree():
            draw_tree(canvas, scene, thing, family, rng)
        case Barrier():
            draw_barrier(canvas, scene, thing, bank, rng)
        case Pole():
            draw_pole(canvas, scene, thing, rng)
        case Vehicle():
            draw_vehicle(canvas, scene, thing, rng)
        case Person():
            draw_person(canvas, scene, thing, rng)
