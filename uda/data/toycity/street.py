"""The ground: road, kerbs, sidewalks, grass, markings and the shadows on it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from uda.data.toycity.canvas import Canvas, Colour
from uda.data.toycity.scene import Scene, Vehicle
from uda.data.toycity.textures import TILE, TextureBank, wrap

ROAD, SIDEWALK, TERRAIN = 0, 1, 9
# Zones from left to right: yard, walk, verge, kerb, road, kerb, verge, walk, yard.
_CORNER = 3.0  # metres, radius of the kerb at a side street
Floats = npt.NDArray[np.float32]


def draw_ground(canvas: Canvas, scene: Scene, bank: TextureBank, rng: np.random.Generator) -> None:
    """Paint and label everything below the horizon."""
    camera = scene.camera
    first, depth = camera.ground_rows()
    columns = np.arange(canvas.width, dtype=np.float32) + 0.5
    across = (columns[None, :] - camera.centre) * (depth / camera.focal)[:, None]
    across -= (camera.curve * depth * depth)[:, None]
    zone = _zones(scene, across, depth)
    colours, labels, tiles = _zone_tables(scene, rng)
    shade = _texture(zone, tiles, across, depth, bank, rng)
    air = np.exp(-scene.light.haze * depth)[:, None]
    shade *= (scene.light.top * air).astype(np.float32)
    veil = np.array(scene.light.sky, np.float32) * ((1 - air) * 0.85)
    image = cv2.LUT(cv2.merge([zone] * 3), _table(colours)) * shade[:, :, None]
    image += veil.astype(np.float32)[:, None, :]
    canvas.image[first:] = np.clip(image, 0, 255, out=image).astype(np.uint8)
    canvas.label[first:] = cv2.LUT(zone, _table(labels))
    _markings(canvas, scene, rng)
    _patches(canvas, scene, rng)
    _islands(canvas, scene)
    _shadows(canvas, scene, first, rng)


def _zones(scene: Scene, across: Floats, depth: Floats) -> npt.NDArray[np.uint8]:
    """Number of the zone at every ground pixel, (rows, W) uint8."""
    left, right = scene.sides
    kerb_width = 0.16
    bounds = [
        (left.walk, -1), (left.verge, -1), (left.kerb - kerb_width, -1), (left.kerb, -1),
        (right.kerb, 1), (right.kerb + kerb_width, 1), (right.verge, 1), (right.walk, 1),
    ]  # fmt: skip
    widening = _widening(scene, depth)
    zone = np.zeros(across.shape, np.uint8)
    last: Floats = np.full_like(depth, -1e6)
    for position, sign in bounds:
        # A kerb without verge must not end inside the kerb stone.
        edge = np.maximum(last, position + sign * widening)
        zone += across > edge[:, None]
        last = edge
    return zone


def _widening(scene: Scene, depth: Floats) -> Floats:
    """How far the kerbs recede at each row: rounded corners and the side street itself."""
    if scene.road.junction is None:
        return np.zeros_like(depth)
    near, far = scene.road.junction
    outside = np.maximum(near - depth, depth - far)
    reach = np.clip(_CORNER - outside, 0, _CORNER)
    rounded = _CORNER - np.sqrt(np.maximum(_CORNER**2 - reach**2, 0))
    return np.where(outside <= 0, 1e4, rounded).astype(np.float32)


def _zone_tables(
    scene: Scene, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
    """Colour (9, 3), trainId (9,) and ground tile (9,) of the zones."""
    road = scene.road
    walk = np.array(road.walk_colour)
    kerb = np.clip(walk * rng.uniform(0.9, 1.35), 0, 235)
    half, halves_l, halves_t = [], [], []
    for side in scene.sides:
        green = side.yard == "terrain"
        yard = np.array(road.yard_colour) if green else walk * rng.uniform(0.8, 1.1)
        half.append([yard, walk, np.array(road.yard_colour), kerb])
        halves_l.append([TERRAIN if green else SIDEWALK, SIDEWALK, TERRAIN, SIDEWALK])
        slabs = 3 if road.setts else 1
        halves_t.append([2 if green else slabs, slabs, 2, 0])
    grey = [np.array(road.colour)]
    colours = np.array(half[0] + grey + half[1][::-1], np.float32)
    means = colours.mean(axis=1, keepdims=True)
    colours = means + (colours - means) * scene.light.saturation
    labels = np.array(halves_l[0] + [ROAD] + halves_l[1][::-1], np.uint8)
    tiles = np.array(halves_t[0] + [0] + halves_t[1][::-1])
    return colours.astype(np.float32), labels, tiles


def _texture(
    zone: npt.NDArray[np.uint8],
    tiles: npt.NDArray[np.intp],
    across: Floats,
    depth: Floats,
    bank: TextureBank,
    rng: np.random.Generator,
) -> Floats:
    """Brightness factor of the ground, (rows, W) float32, with contrast that fades far away."""
    density = float(rng.uniform(38, 60))  # pixels of the tile a metre
    offset = rng.uniform(0, TILE, 2).astype(np.float32)
    shift = (tiles * (TILE + 1)).astype(np.float32)
    u = wrap(across * density + offset[0]) + cv2.LUT(zone, _table(shift))
    v = np.broadcast_to(wrap(depth * density + offset[1])[:, None], across.shape)
    fine = cv2.remap(bank.ground, u, np.ascontiguousarray(v), cv2.INTER_LINEAR)
    fade = np.clip(14 / depth, 0.0, 1.0)[:, None] * float(rng.uniform(0.5, 1.1))
    shade = 1 + (fine.astype(np.float32) * (1 / 128) - 1) * fade.astype(np.float32)
    u = wrap(across * 9 + offset[1])
    v = np.broadcast_to(wrap(depth * 4 + offset[0])[:, None], across.shape)
    broad = cv2.remap(bank.soft, u, np.ascontiguousarray(v), cv2.INTER_LINEAR)
    return np.asarray(shade + np.float32(rng.uniform(0.02, 0.07)) * broad, np.float32)


def _table(values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A look-up table for `cv2.LUT` whose first entries are the given ones."""
    table = np.zeros((1, 256, *values.shape[1:]), values.dtype)
    table[0, : len(values)] = values
    return table


def _strip(
    canvas: Canvas,
    scene: Scene,
    x: tuple[float, float],
    near: float,
    far: float,
    colour: Colour,
    class_id: int | None = None,
) -> None:
    """A bar on the ground along the street from depth near to far (metres), x at both ends."""
    near = max(near, 1.5)
    if far <= near:
        return
    steps = 2 if scene.camera.curve == 0 else max(2, int((far - near) / 6))
    depths = np.geomspace(near, far, steps)
    zero = np.zeros_like(depths)
    left = np.stack([zero + x[0], zero, depths], axis=1)
    right = np.stack([zero + x[1], zero, depths], axis=1)[::-1]
    points = scene.camera.project(np.concatenate([left, right]))
    tint = scene.light.paint(colour, scene.light.top, (near + far) / 2)
    canvas.polygon(points, tint, class_id)


def _markings(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    """White and yellow paint on the road."""
    road = scene.road
    level = 150 + 100 * road.marks
    white = (level, level, level * 0.97)
    left, right = scene.sides[0].kerb, scene.sides[1].kerb
    clear = road.junction or (-1.0, -1.0)
    if road.lane is not None:
        _lane_line(canvas, scene, rng, road.lane, white)
    if road.edge != "none":
        paint = white if road.edge == "white" else (level, level * 0.8, level * 0.35)
        _kerb_lines(canvas, scene, paint)
    if road.crossing is not None:
        for x in np.arange(left + 0.5, right - 0.4, 1.1):
            _strip(canvas, scene, (x, x + 0.55), road.crossing, road.crossing + 3.0, white)
    if clear[0] > 0:
        middle = road.lane if road.lane is not None else (left + right) / 2
        ends = (left + 0.3, middle) if left + right > 0 else (middle, right - 0.3)
        _strip(canvas, scene, ends, clear[0] - 2.2, clear[0] - 1.9, white)
    for _ in range(int(rng.poisson(0.8))):
        _arrow(canvas, scene, rng, white)


def _lane_line(
    canvas: Canvas, scene: Scene, rng: np.random.Generator, lane: float, colour: Colour
) -> None:
    """Dashes between the directions, now and then as a zigzag before a crossing."""
    clear = scene.road.junction or (-1.0, -1.0)
    long, gap = scene.road.dash
    shift = 0.25 if rng.random() < 0.15 else 0.0
    depth = float(rng.uniform(1.5, 5))
    while depth < 80:
        end = depth + long
        if not clear[0] - 1 < end < clear[1] + long:
            x = lane + shift
            _strip(canvas, scene, (x - 0.06, x + 0.06), depth, end, colour)
        shift = -shift
        depth = end + gap


def _kerb_lines(canvas: Canvas, scene: Scene, colour: Colour) -> None:
    """One white or two yellow lines along each kerb, not across the side street."""
    clear = scene.road.junction
    spans = ((1.5, 90.0),) if clear is None else ((1.5, clear[0] - 2), (clear[1] + 2, 90.0))
    insets = (0.25, 0.45) if scene.road.edge == "yellow" else (0.35,)
    for side in scene.sides:
        for x in (side.kerb - side.sign * inset for inset in insets):
            for near, far in spans:
                _strip(canvas, scene, (x - 0.045, x + 0.045), near, far, colour)


def _arrow(canvas: Canvas, scene: Scene, rng: np.random.Generator, colour: Colour) -> None:
    """A lane arrow or a bar of worn writing."""
    x = float(rng.uniform(scene.sides[0].kerb + 1, scene.sides[1].kerb - 1))
    near = float(rng.uniform(4.5, 25))
    if rng.random() < 0.5:
        for number in range(4):  # letters look like short strokes from here
            place = x - 1 + 0.5 * number
            _strip(canvas, scene, (place, place + 0.12), near, near + 1.4, colour)
            if rng.random() < 0.6:
                far = near + float(rng.uniform(0.2, 1.2))
                _strip(canvas, scene, (place, place + 0.4), far, far + 0.2, colour)
        return
    _strip(canvas, scene, (x - 0.08, x + 0.08), near, near + 2, colour)
    head = [(x - 0.4, 0, near + 2), (x + 0.4, 0, near + 2), (x, 0, near + 3.4)]
    canvas.polygon(scene.camera.project(head), scene.light.paint(colour, 1.0, near), None)


def _patches(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    """Repaired asphalt, manhole covers and gratings."""
    left, right = scene.sides[0].kerb, scene.sides[1].kerb
    for _ in range(int(rng.poisson(2.0))):
        x = float(rng.uniform(left, right - 0.5))
        near = float(np.exp(rng.uniform(1.3, 3.4)))
        wide, long = float(rng.uniform(0.4, 2.5)), float(rng.uniform(0.5, 6))
        if rng.random() < 0.4:
            wide, long = 0.6, 0.6
        gain = float(rng.uniform(0.72, 1.15))
        points = scene.camera.project(
            [(x, 0, near), (x + wide, 0, near), (x + wide, 0, near + long), (x, 0, near + long)]
        )
        box = canvas.window(points)
        if box is None or x + wide > right:
            continue
        _darken(canvas, points, box, gain)


def _darken(
    canvas: Canvas, points: npt.NDArray[np.float64], box: tuple[int, int, int, int], gain: float
) -> None:
    """Multiply the image inside a polygon, labels unchanged."""
    x0, y0, x1, y1 = box
    mask = np.full((y1 - y0, x1 - x0), 255, np.uint8)
    inside = np.round(np.clip(points - (x0, y0), -3000, 3000) * 16).astype(np.int32)
    cv2.fillPoly(mask, [inside], 255 * min(gain, 1.0) if gain < 1 else 255, cv2.LINE_AA, 4)
    view = canvas.image[y0:y1, x0:x1]
    view[...] = cv2.multiply(view, cv2.merge([mask] * 3), scale=1 / 255)


def _islands(canvas: Canvas, scene: Scene) -> None:
    """Raised refuges in the middle of the road."""
    for x, near, length in scene.road.islands:
        red, green, blue = scene.road.walk_colour
        dark, pale = (red * 0.6, green * 0.6, blue * 0.6), (red * 1.1, green * 1.1, blue * 1.1)
        far = near + length
        _strip(canvas, scene, (x - 0.75, x + 0.75), near, far, dark, SIDEWALK)
        _strip(canvas, scene, (x - 0.65, x + 0.65), near + 0.3, far, pale, SIDEWALK)


def _shadows(canvas: Canvas, scene: Scene, first: int, rng: np.random.Generator) -> None:
    """Soft darkening under vehicles and, in the sun, beside buildings and trees."""
    rows = canvas.height - first
    light = np.full((rows, canvas.width), 255, np.uint8)
    if scene.light.sunny:
        _cast(light, scene, first, rng)
    for thing in scene.things:
        if not isinstance(thing, Vehicle):
            continue
        half_l, half_w = thing.size[0] / 2 + 0.15, thing.size[1] / 2 + 0.12
        cosine, sine = math.cos(thing.yaw), math.sin(thing.yaw)
        corners = [
            (thing.x + a * half_w * cosine + b * half_l * sine, 0.0,
             max(1.5, thing.depth - a * half_w * sine + b * half_l * cosine))
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ]  # fmt: skip
        _shadow(light, scene, first, corners, 70)
    light = cv2.blur(light, (5, 3))
    view = canvas.image[first:]
    view[...] = cv2.multiply(view, cv2.merge([light] * 3), scale=1 / 255)


def _shadow(
    light: npt.NDArray[np.uint8],
    scene: Scene,
    first: int,
    corners: list[tuple[float, float, float]],
    value: int,
) -> None:
    points = scene.camera.project(corners) - (0, first)
    fixed = np.round(np.clip(points, -3000, 3000) * 16).astype(np.int32)
    cv2.fillPoly(light, [fixed], value, cv2.LINE_AA, 4)


def _cast(light: npt.NDArray[np.uint8], scene: Scene, first: int, rng: np.random.Generator) -> None:
    """Shadows of the sunward side: a slab for each building, blots for trees and poles."""
    sun = scene.light.sun_side
    length = float(rng.uniform(0.5, 1.6))  # shadow length / height
    slant = float(rng.uniform(-0.5, 0.5))
    depth_of_shade = int(rng.uniform(85, 150))
    for building in scene.buildings:
        if building.sign != sun:
            continue
        reach = building.x - sun * building.height * length
        near, far = max(2.0, building.near), max(2.5, building.far)
        drift = slant * building.height * length
        corners = [
            (building.x, 0.0, near), (building.x, 0.0, far),
            (reach, 0.0, max(2.0, far + drift)), (reach, 0.0, max(1.6, near + drift)),
        ]  # fmt: skip
        _shadow(light, scene, first, corners, depth_of_shade)
    for thing in scene.things:
        height = getattr(thing, "height", 0.0)
        if isinstance(thing, Vehicle) or not hasattr(thing, "x") or height < 1 or thing.depth > 45:
            continue
        half = 0.5 * getattr(thing, "width", 0.12 if height > 2 else 0.5)
        reach = thing.x - sun * min(height, 7) * length
        corners = [
            (thing.x, 0.0, thing.depth - 0.1), (reach, 0.0, max(2.0, thing.depth - half)),
            (reach, 0.0, thing.depth + half), (thing.x, 0.0, thing.depth + 0.1),
        ]  # fmt: skip
        _shadow(light, scene, first, corners, depth_of_shade + 20)
