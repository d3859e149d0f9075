"""Buildings: procedural facades warped on planes, end walls, roofs, chimneys."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from uda.data.toycity import palette
from uda.data.toycity.canvas import Canvas, Colour
from uda.data.toycity.scene import Building, Scene
from uda.data.toycity.textures import TextureBank, crop_tile

BUILDING = 2
SIGN = 7
# Brightness of glass: mostly dark rooms, sometimes mirrored sky.
_GLASS = (24.0, 24.0, 24.0, 38.0, 38.0, 38.0, 54.0, 54.0, 90.0, 140.0)
_NEAREST = 1.2  # metres; planes are cut there
Picture = npt.NDArray[np.uint8]


def draw_building(
    canvas: Canvas, scene: Scene, building: Building, bank: TextureBank, rng: np.random.Generator
) -> None:
    """Paint a building: end wall, roof, street facade."""
    if building.sign == 0:
        _frontal(canvas, scene, building, bank, rng)
        return
    camera, light, sign = scene.camera, scene.light, building.sign
    start = max(building.near, _NEAREST, 0.85 * camera.visible_from(building.x))
    if start >= building.far - 0.1:
        return  # beside the image
    outer = building.x + sign * building.deep
    end_shade = light.front * 0.95
    if building.near > 2.5 and not building.hidden_end:
        _end_wall(canvas, scene, building, outer, end_shade, bank, rng)
    _roof(canvas, scene, building, start)
    length, height = building.far - start, building.height
    shape = _resolution(canvas, camera.focal / max(start, 2.0), height, length)
    picture = _facade(building, shape, height, length, bank, rng)
    picture = _lit(picture, scene, light.side_shade(sign), (start + min(building.far, 80)) / 2)
    z_left, z_right = (start, building.far) if sign < 0 else (building.far, start)
    corners = camera.project(
        [
            (building.x, height, z_left),
            (building.x, height, z_right),
            (building.x, 0.0, z_right),
            (building.x, 0.0, z_left),
        ]  # fmt: skip
    )
    canvas.plane(corners, picture, BUILDING)
    if building.shop and start < 40 and rng.random() < 0.5:
        _hanging_sign(canvas, scene, building, start, rng)


def _resolution(canvas: Canvas, pixels: float, height: float, length: float) -> tuple[int, int]:
    """Rows and columns of a facade's picture for its nearest scale (pixels a metre)."""
    pixels = min(pixels, math.sqrt(0.45 * canvas.height * canvas.width / (height * length)))
    return max(8, int(0.9 * height * pixels)), max(6, int(0.6 * length * pixels))


def _lit(picture: Picture, scene: Scene, shade: float, depth: float) -> Picture:
    """A picture under the street's light and haze: one affine map of the colours."""
    light = scene.light
    zero = np.array(light.paint((0.0, 0.0, 0.0), shade, depth))
    units = [light.paint((255.0, 0, 0), shade, depth), light.paint((0, 255.0, 0), shade, depth)]
    units.append(light.paint((0, 0, 255.0), shade, depth))
    matrix = np.zeros((3, 4))
    for channel, unit in enumerate(units):
        matrix[:, channel] = (np.array(unit) - zero) / 255
    matrix[:, 3] = zero
    return np.asarray(cv2.transform(picture, matrix), np.uint8)


def _wall(
    building: Building, shape: tuple[int, int], bank: TextureBank, rng: np.random.Generator
) -> Picture:
    """Bare masonry with stains, darker at the foot, (h, w, 3) uint8."""
    tile = np.asarray(crop_tile(bank.walls[building.material], rng, shape), np.uint8)
    tile = cv2.merge([tile] * 3)
    levels = np.arange(256, dtype=np.float32)[:, None] / 128
    table = np.clip(levels * np.array(building.colour, np.float32), 0, 255)
    picture = np.asarray(cv2.LUT(tile, table[None].astype(np.uint8)), np.uint8)
    foot = picture[-max(1, shape[0] // 14) :]  # splashed by rain
    foot[...] = cv2.convertScaleAbs(foot, alpha=0.85)
    return picture


def _facade(
    building: Building,
    shape: tuple[int, int],
    height: float,
    length: float,
    bank: TextureBank,
    rng: np.random.Generator,
) -> Picture:
    """The street side: wall, rows of windows, doors or a shop front, cornice."""
    rows, columns = shape
    picture = _wall(building, shape, bank, rng)
    per_metre = (rows / height, columns / length)
    ground = height / building.storeys * (1.1 if building.shop else 1.0)
    storey = (height - ground - 0.4) / max(building.storeys - 1, 1)
    spacing = float(rng.uniform(1.9, 3.6))
    size = (float(rng.uniform(1.1, 1.9)), float(rng.uniform(0.8, min(2.4, spacing - 0.5))))
    ribbon = building.material in ("concrete", "panel") and rng.random() < 0.5
    if ribbon:
        spacing, size = 1.6, (1.5, 1.45)
    for floor in range(1, building.storeys):
        sill = ground + (floor - 1) * storey + 0.85
        for middle in np.arange(spacing / 2, length - 0.3, spacing):
            box = _box(middle - size[1] / 2, sill, size[1], size[0], height, per_metre)
            _window(picture, box, building.trim, rng)
        if rng.random() < 0.3:
            line = int(rows - (sill - 0.85) * per_metre[0])
            trim = tuple(value * 0.9 for value in building.trim)
            cv2.line(picture, (0, line), (columns, line), trim, max(1, rows // 90))
    if building.shop:
        _shop(picture, ground, length, height, per_metre, rng)
    else:
        _ground_floor(picture, building, ground, length, per_metre, rng)
    _relief(picture, length, per_metre, rng)
    grime = crop_tile(palette.choose(rng, bank.grime), rng, shape)
    picture = np.asarray(cv2.multiply(picture, cv2.merge([grime] * 3), scale=1 / 128), np.uint8)
    band = max(1, int(0.25 * per_metre[0]))
    cv2.rectangle(picture, (0, 0), (columns, band), tuple(v * 0.8 for v in building.trim), -1)
    cv2.line(picture, (0, band + 1), (columns, band + 1), (40, 38, 36), 1)
    if rng.random() < 0.6:  # a drain pipe
        place = int(rng.integers(columns))
        cv2.line(picture, (place, 0), (place, rows), (52, 50, 50), max(1, columns // 150))
    return picture


def _relief(
    picture: Picture, length: float, per_metre: tuple[float, float], rng: np.random.Generator
) -> None:
    """Upright strips in light and shade: pilasters, bays, party walls."""
    for _ in range(int(rng.integers(0, 5))):
        left = int(rng.uniform(0, length) * per_metre[1])
        right = left + max(1, int(rng.uniform(0.2, 1.6) * per_metre[1]))
        strip = picture[int(rng.uniform(0, 0.3) * picture.shape[0]) :, left:right]
        if strip.size:
            strip[...] = cv2.convertScaleAbs(strip, alpha=float(rng.uniform(0.65, 1.3)))


def _box(
    left: float,
    bottom: float,
    width: float,
    tall: float,
    height: float,
    per_metre: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Pixel box (x0, y0, x1, y1) of a rectangle given in metres from the facade's lower left."""
    return (
        int(left * per_metre[1]),
        int((height - bottom - tall) * per_metre[0]),
        int((left + width) * per_metre[1]),
        int((height - bottom) * per_metre[0]),
    )


def _window(
    picture: Picture, box: tuple[int, int, int, int], trim: Colour, rng: np.random.Generator
) -> None:
    """Glass that mirrors sky or shows a dark room, with frame, bars, sill and lintel."""
    x0, y0, x1, y1 = box
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    if x1 - x0 < 4:  # far away only the glass is left
        cv2.rectangle(picture, (x0, y0), (x1, y1), (48, 50, 54), -1)
        return
    frame = max(1, (x1 - x0) // 12)
    cv2.rectangle(picture, (x0 - frame, y0 - frame), (x1 + frame, y1 + frame), trim, -1)
    dark = palette.choose(rng, _GLASS)
    glass = (dark * 0.92, dark, dark * 1.1)
    cv2.rectangle(picture, (x0, y0), (x1, y1), glass, -1)
    if rng.random() < 0.4:  # a curtain or the mirrored sky in a part
        part = y0 + int((y1 - y0) * rng.uniform(0.2, 0.8))
        gain = float(rng.uniform(1.3, 3.0))
        cv2.rectangle(picture, (x0, y0), (x1, part), tuple(min(v * gain, 225) for v in glass), -1)
    if x1 - x0 >= 6:
        middle = (x0 + x1) // 2
        cv2.line(picture, (middle, y0), (middle, y1), trim, frame)
        cv2.line(picture, (x0, (y0 + y1) // 2), (x1, (y0 + y1) // 2), trim, frame)
    sill = tuple(value * 0.75 for value in trim)
    cv2.line(picture, (x0 - 2 * frame, y1 + frame), (x1 + 2 * frame, y1 + frame), sill, frame)


def _ground_floor(
    picture: Picture,
    building: Building,
    ground: float,
    length: float,
    per_metre: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Doors and windows of a house."""
    height = building.height
    step = float(rng.uniform(2.2, 3.4))
    for number, middle in enumerate(np.arange(step / 2, length - 0.5, step)):
        if (number + building.storeys) % 3 == 0:
            box = _box(middle - 0.5, 0.1, 1.0, 2.1, height, per_metre)
            paint = palette.bright_colour(rng, 0.5)
            cv2.rectangle(picture, box[:2], box[2:], building.trim, -1)
            inner = (box[0] + 1, box[1] + 1), (box[2] - 1, box[3])
            cv2.rectangle(picture, inner[0], inner[1], tuple(v * 0.7 for v in paint), -1)
        else:
            tall = min(1.7, ground - 1.2)
            box = _box(middle - 0.7, 0.85, 1.4, tall, height, per_metre)
            _window(picture, box, building.trim, rng)


def _shop(
    picture: Picture,
    ground: float,
    length: float,
    height: float,
    per_metre: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Shop fronts side by side: board with writing, display windows with goods, doors."""
    left = 0.0
    while left < length - 0.5:
        width = min(float(rng.uniform(4, 8)), length - left)
        paint = palette.bright_colour(rng)
        if rng.random() < 0.4:
            paint = palette.vary(rng, (60, 58, 56) if rng.random() < 0.5 else (220, 216, 206), 0.2)
        x0, y0, x1, y1 = _box(left, 0.0, width, ground, height, per_metre)
        cv2.rectangle(picture, (x0, y0), (x1, y1), paint, -1)
        board = max(2, int(0.75 * per_metre[0]))
        _writing(picture, (x0 + 2, y0 + 1, x1 - 2, y0 + board - 1), rng)
        top = y0 + board + max(1, int(0.1 * per_metre[0]))
        bottom = y1 - max(1, int(rng.uniform(0.15, 0.7) * per_metre[0]))
        panes = max(1, int(width / rng.uniform(1.1, 2.2)))
        edges = np.linspace(x0 + 1, x1 - 1, panes + 1).astype(int)
        for start, end in zip(edges[:-1], edges[1:], strict=True):
            _display(picture, (int(start) + 1, top, int(end) - 1, bottom), rng)
        if rng.random() < 0.25:
            awning = palette.bright_colour(rng)
            cv2.rectangle(picture, (x0, y0 + board), (x1, y0 + 2 * board), awning, -1)
        left += width


def _display(picture: Picture, box: tuple[int, int, int, int], rng: np.random.Generator) -> None:
    """A shop window: dark room, bright lamps, blobs of goods and posters."""
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return
    room = float(rng.uniform(18, 75))
    cv2.rectangle(picture, (x0, y0), (x1, y1), (room, room * 0.97, room * 0.9), -1)
    for _ in range(int(rng.integers(1, 6))):
        gx, gy = int(rng.integers(x0, x1 + 1)), int(rng.integers(y0, y1 + 1))
        goods = palette.bright_colour(rng, 0.4)
        end = (min(x1, gx + (x1 - x0) // 4), min(y1, gy + (y1 - y0) // 5))
        cv2.rectangle(picture, (gx, gy), end, goods, -1)


def _writing(picture: Picture, box: tuple[int, int, int, int], rng: np.random.Generator) -> None:
    """Strokes that read as letters from afar."""
    x0, y0, x1, y1 = box
    tall = y1 - y0
    if tall < 3 or x1 - x0 < 8:
        return
    ink = (235, 232, 222) if rng.random() < 0.6 else palette.bright_colour(rng)
    place = x0 + int((x1 - x0) * rng.uniform(0.05, 0.3))
    end = x1 - int((x1 - x0) * rng.uniform(0.05, 0.3))
    step = max(2, int(tall * 0.55))
    thick = max(1, tall // 7)
    while place < end:
        top, low = y0 + tall // 4, y1 - tall // 4
        cv2.line(picture, (place, top), (place, low), ink, thick)
        middle = int(rng.integers(top, low + 1))
        cv2.line(picture, (place, middle), (place + step // 2, middle), ink, thick)
        place += step * (2 if rng.random() < 0.15 else 1)


def _end_wall(
    canvas: Canvas,
    scene: Scene,
    building: Building,
    outer: float,
    shade: float,
    bank: TextureBank,
    rng: np.random.Generator,
) -> None:
    """The wall that faces the camera, with a gable under a pitched roof."""
    camera, near, height = scene.camera, building.near, building.height
    left, right = sorted((building.x, outer))
    shape = _resolution(canvas, camera.focal / near, height, building.deep)
    picture = _wall(building, shape, bank, rng)
    per_metre = (shape[0] / height, shape[1] / building.deep)
    if rng.random() < 0.6:
        for floor in range(building.storeys):
            for middle in np.arange(1.8, building.deep - 1, float(rng.uniform(2.5, 5))):
                sill = floor * height / building.storeys + 0.9
                box = _box(middle - 0.5, sill, 1.0, 1.3, height, per_metre)
                _window(picture, box, building.trim, rng)
    corners = camera.project(
        [(left, height, near), (right, height, near), (right, 0, near), (left, 0, near)]
    )
    if building.roof != "flat":
        tint = scene.light.paint(building.colour, shade * 0.95, near)
        ridge = height + 0.32 * building.deep
        gable = [(left, height, near), ((left + right) / 2, ridge, near), (right, height, near)]
        canvas.polygon(camera.project(gable), tint, BUILDING)
    canvas.plane(corners, _lit(picture, scene, shade, near), BUILDING)


def _roof(canvas: Canvas, scene: Scene, building: Building, start: float) -> None:
    """The street side slope of a pitched roof and its chimneys."""
    if building.roof == "flat":
        return
    camera, sign = scene.camera, building.sign
    middle = building.x + sign * building.deep / 2
    ridge = building.height + 0.32 * building.deep
    depth = (start + building.far) / 2
    tint = scene.light.paint(building.roof_colour, scene.light.top * 0.9, depth)
    dark = scene.light.paint(building.roof_colour, 0.45, depth)
    slope = [
        (building.x, building.height, start), (middle, ridge, start),
        (middle, ridge, building.far), (building.x, building.height, building.far),
    ]  # fmt: skip
    for place in (start + 0.6, building.far - 0.8):
        stack = camera.project(
            [
                (middle - 0.5, ridge - 0.5, place),
                (middle - 0.5, ridge + 1.1, place),
                (middle + 0.5, ridge + 1.1, place),
                (middle + 0.5, ridge - 0.5, place),
            ]  # fmt: skip
        )
        canvas.polygon(stack, scene.light.paint(building.colour, 0.8, depth), BUILDING)
    canvas.polygon(camera.project(slope), tint, BUILDING)
    if building.roof == "gable":  # a gable towards the street
        centre, half = (start + building.far) / 2, min(2.2, (building.far - start) / 2)
        top = min(ridge, building.height + 1.1 * half)
        gable = [
            (building.x, building.height, centre - half), (building.x, top, centre),
            (building.x, building.height, centre + half),
        ]  # fmt: skip
        shade = scene.light.side_shade(sign)
        face = scene.light.paint(building.colour, shade, depth)
        points = camera.project(gable)
        canvas.polygon(points, face, BUILDING)
        canvas.polygon(points.mean(0) + 0.25 * (points - points.mean(0)), dark, BUILDING)


def _frontal(
    canvas: Canvas, scene: Scene, building: Building, bank: TextureBank, rng: np.random.Generator
) -> None:
    """A building at the end of the street, seen from the front."""
    length = building.far - building.near
    shape = _resolution(canvas, 1.6 * scene.camera.focal / building.near, building.height, length)
    picture = _facade(building, shape, building.height, length, bank, rng)
    picture = _lit(picture, scene, scene.light.front, building.near)
    x0, x1, near, height = building.x, building.x + length, building.near, building.height
    ridge = height + (2.5 if building.roof != "flat" else 0.0)
    roof = [(x0, height, near), (x0 + 2, ridge, near), (x1 - 2, ridge, near), (x1, height, near)]
    tint = scene.light.paint(building.roof_colour, 0.9, near)
    canvas.polygon(scene.camera.project(roof), tint, BUILDING)
    corners = scene.camera.project(
        [(x0, height, near), (x1, height, near), (x1, 0, near), (x0, 0, near)]
    )
    canvas.plane(corners, picture, BUILDING)


def _hanging_sign(
    canvas: Canvas, scene: Scene, building: Building, start: float, rng: np.random.Generator
) -> None:
    """A board that stands out from the facade and faces the street."""
    first = max(start, 6.0)
    depth = float(rng.uniform(first, max(building.far, first + 1)))
    inner = building.x - building.sign * float(rng.uniform(0.5, 1.1))
    low = float(rng.uniform(2.6, 3.6))
    high = low + float(rng.uniform(0.5, 1.0))
    left, right = sorted((building.x, inner))
    points = scene.camera.project(
        [(left, low, depth), (right, low, depth), (right, high, depth), (left, high, depth)]
    )
    paint = scene.light.paint(palette.bright_colour(rng), scene.light.front, depth)
    canvas.polygon(points, paint, SIGN)
    ink = scene.light.paint((230, 228, 220), scene.light.front, depth)
    canvas.polygon(points.mean(0) + 0.45 * (points - points.mean(0)), ink, SIGN)
