"""Street furniture: lamp posts, signs, signals, bollards, fences, walls and hedges."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from uda.data.toycity import palette
from uda.data.toycity.canvas import Canvas, Colour
from uda.data.toycity.scene import Barrier, Pole, Scene
from uda.data.toycity.textures import TextureBank, crop_tile

WALL, FENCE, POLE, SIGNAL, SIGN, VEGETATION = 3, 4, 5, 6, 7, 8
_BARRIER_CLASS = {"wall": WALL, "hedge": VEGETATION, "railing": FENCE, "boards": FENCE}


def draw_pole(canvas: Canvas, scene: Scene, pole: Pole, rng: np.random.Generator) -> None:
    """Paint a post and what it carries."""
    painter = PolePainter(canvas, scene, pole, rng)
    thick = {"lamp": 0.15, "bollard": 0.16, "beacon": 0.13}.get(pole.kind, 0.09)
    painter.shaft(thick)
    if pole.kind == "lamp":
        painter.lamp()
    elif pole.kind == "signal":
        painter.signal()
    elif pole.kind == "board":
        painter.board()
    elif pole.kind == "beacon":
        painter.beacon()
    elif pole.kind in ("sign", "twin"):
        painter.sign(pole.height - 0.35)
        if pole.kind == "twin":
            painter.sign(pole.height - 1.1)


class PolePainter:
    """Draws one post; its frame has x right and y up in metres, origin at the foot."""

    def __init__(self, canvas: Canvas, scene: Scene, pole: Pole, rng: np.random.Generator) -> None:
        """Place the post."""
        self.canvas, self.scene, self.pole, self.rng = canvas, scene, pole, rng
        self.column, self.row = scene.camera.foot(pole.x, pole.depth)
        self.scale = scene.camera.scale_at(pole.depth)
        self.shade = scene.light.front

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a point of the post."""
        return self.column + x * self.scale, self.row - y * self.scale

    def tint(self, colour: Colour, shade: float | None = None) -> Colour:
        """A colour under the street's light."""
        value = self.shade if shade is None else shade
        return self.scene.light.paint(colour, value, self.pole.depth)

    def width(self, metres: float) -> float:
        """Pixels of a thickness, at least 1.2: thinner posts would vanish from the label."""
        return max(1.2, metres * self.scale)

    def shaft(self, thick: float) -> None:
        """The post itself, lit from one side."""
        height = self.pole.height
        dark = self.tint(self.pole.colour, self.shade * 0.75)
        foot, top = self.at(0, 0), self.at(0, height)
        widths = (self.width(thick), self.width(thick * 0.7))
        self.canvas.limb(foot, top, widths, dark, POLE)
        if widths[0] > 3:
            side = -0.25 * self.scene.light.sun_side * thick
            bright = self.tint(self.pole.colour, self.shade * 1.25)
            start, end = self.at(-side, 0), self.at(-side, height)
            self.canvas.limb(start, end, (widths[0] / 3, widths[1] / 3), bright, None)

    def lamp(self) -> None:
        """An arm over the road with a lamp head."""
        height, toward = self.pole.height, self.pole.toward
        reach = float(self.rng.uniform(0.6, 1.9))
        colour = self.tint(self.pole.colour, self.shade * 0.75)
        thin = (self.width(0.08), self.width(0.07))
        end = (toward * reach, height + 0.25)
        self.canvas.limb(self.at(0, height), self.at(*end), thin, colour, POLE)
        head = (end[0] + toward * 0.55, end[1] + 0.05)
        wide = (self.width(0.2), self.width(0.14))
        self.canvas.limb(self.at(*end), self.at(*head), wide, colour, POLE)

    def sign(self, y: float) -> None:
        """A round, triangular or rectangular traffic sign, its face or its grey back."""
        rng, size = self.rng, float(self.rng.uniform(0.27, 0.42))
        kind = int(rng.integers(4))
        centre = self.at(0, y)
        radius = max(1.3, size * self.scale)
        red, white, blue = (186, 34, 36), (228, 226, 222), (38, 78, 158)
        back = rng.random() < 0.32
        outer: Colour = (96, 98, 98) if back else (blue if rng.random() < 0.35 else red)
        inner: Colour = (110, 112, 112) if back else (outer if outer == blue else white)
        if kind == 1:
            angles = np.deg2rad([-90, 30, 150])
        elif kind == 3:
            outer = inner if back else (blue, white, (40, 110, 70))[int(rng.integers(3))]
            angles = np.deg2rad([-125, -55, 55, 125])
        else:
            angles = np.arange(12) * (2 * math.pi / 12)
        shape = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius
        self.canvas.polygon(shape + centre, self.tint(outer), SIGN)
        if kind != 3:
            self.canvas.polygon(shape * 0.7 + centre, self.tint(inner), SIGN)
        if not back and radius > 3:
            ink = white if outer == blue or kind == 3 else (30, 30, 32)
            half = radius * 0.3
            left, right = (centre[0] - half, centre[1]), (centre[0] + half, centre[1])
            self.canvas.limb(left, right, (radius * 0.2, radius * 0.2), self.tint(ink), SIGN)

    def board(self) -> None:
        """A large direction board on the post."""
        wide, tall = float(self.rng.uniform(0.7, 1.5)), float(self.rng.uniform(0.6, 1.3))
        top = self.pole.height
        corners = [
            (-wide / 2, top),
            (wide / 2, top),
            (wide / 2, top - tall),
            (-wide / 2, top - tall),
        ]
        choices = ((36, 84, 60), (40, 76, 150), (226, 226, 220))
        face = choices[int(self.rng.integers(3))]
        points = np.array([self.at(*p) for p in corners])
        self.canvas.polygon(points, self.tint(face), SIGN)
        ink: Colour = (228, 226, 220) if face[0] < 100 else (34, 34, 36)
        for number in range(3):
            y = top - tall * (0.22 + 0.26 * number)
            end = wide * float(self.rng.uniform(-0.1, 0.4))
            start, stop = self.at(-wide * 0.4, y), self.at(end, y)
            thick = tall * 0.1 * self.scale
            if thick > 0.7:
                self.canvas.limb(start, stop, (thick, thick), self.tint(ink), SIGN)

    def signal(self) -> None:
        """A traffic light: dark box, three lamps, one lit."""
        top, wide, tall = self.pole.height + 0.1, 0.36, 1.0
        shift = palette.choose(self.rng, (0.0, 0.2, -0.2))
        half = max(wide / 2, 1.2 / self.scale)
        corners = [(shift - half, top), (shift + half, top), (shift + half, top - tall),
                   (shift - half, top - tall)]  # fmt: skip
        self.canvas.polygon([self.at(*p) for p in corners], self.tint((24, 25, 26)), SIGNAL)
        lit = int(self.rng.integers(3))
        hues: tuple[Colour, ...] = ((240, 50, 40), (240, 170, 50), (60, 225, 130))
        radius = max(0.7, 0.11 * self.scale)
        for number, hue in enumerate(hues):
            centre = self.at(shift, top - 0.2 - 0.3 * number)
            if number == lit:
                glow = self.tint(hue, max(0.9, 0.6 + self.scene.light.lamps))
                self.canvas.disc(centre, (radius * 1.1, radius * 1.1), glow, SIGNAL, 8)
            elif radius > 1.5:
                dim = tuple(value * 0.25 for value in hue)
                self.canvas.disc(centre, (radius, radius), self.tint(dim), SIGNAL, 8)  # type: ignore[arg-type]

    def beacon(self) -> None:
        """A crossing's banded post with its yellow globe."""
        for number in range(4):
            low, high = 0.35 + 0.6 * number, 0.65 + 0.6 * number
            thick = self.width(0.13)
            white = self.tint((222, 222, 218))
            self.canvas.limb(self.at(0, low), self.at(0, high), (thick, thick), white, POLE)
        radius = max(1.2, 0.17 * self.scale)
        globe = self.tint((232, 176, 50), max(0.9, self.shade))
        self.canvas.disc(self.at(0, self.pole.height + 0.1), (radius, radius), globe, POLE)


def draw_barrier(
    canvas: Canvas,
    scene: Scene,
    barrier: Barrier,
    bank: TextureBank,
    rng: np.random.Generator,
) -> None:
    """Paint a fence, wall or hedge along the street."""
    camera, light, sign = scene.camera, scene.light, barrier.sign
    near = max(barrier.near, 0.85 * camera.visible_from(barrier.x), 1.5)
    if near > barrier.far - 0.5:
        return
    depth = (near + barrier.far) / 2
    shade = light.side_shade(sign)
    pixels = float(np.clip(0.7 * camera.focal / near, 6, 36))
    rows = max(6, int(barrier.height * pixels))
    columns = int(np.clip((barrier.far - near) * pixels, 8, 600))
    base = _barrier_picture(barrier, (rows, columns), pixels, bank, rng)
    flat = np.array(light.paint(barrier.colour, shade, depth), np.float32)
    rgb = np.clip(base[:, :, :1] * flat, 0, 255)
    alpha = base[:, :, 1:] * 255
    picture = np.concatenate([rgb, alpha], axis=2).astype(np.uint8)
    z = (near, barrier.far) if sign < 0 else (barrier.far, near)
    corners = camera.project(
        [
            (barrier.x, barrier.height, z[0]),
            (barrier.x, barrier.height, z[1]),
            (barrier.x, 0.0, z[1]),
            (barrier.x, 0.0, z[0]),
        ]  # fmt: skip
    )
    solid = barrier.kind != "hedge"
    canvas.plane(corners, picture, _BARRIER_CLASS[barrier.kind], solid=solid)


def _barrier_picture(
    barrier: Barrier,
    shape: tuple[int, int],
    pixels: float,
    bank: TextureBank,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Brightness factor and alpha of a barrier, (h, w, 2) float32."""
    rows, columns = shape
    picture = np.ones((rows, columns, 2), np.float32)
    grain = np.asarray(crop_tile(bank.medium, rng, shape), np.float32)
    if barrier.kind == "wall":
        tile = bank.walls["brick" if rng.random() < 0.6 else "stone"]
        picture[:, :, 0] = crop_tile(tile, rng, shape) / np.float32(128) + 0.06 * grain
        picture[: max(1, rows // 12), :, 0] *= 1.3
    elif barrier.kind == "hedge":
        leaves = crop_tile(bank.leaves[int(rng.integers(4))], rng, shape) / np.float32(128)
        height = np.linspace(1.25, 0.5, rows, dtype=np.float32)[:, None]
        picture[:, :, 0] = leaves * height
        top = 0.12 + 0.05 * grain
        level = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
        picture[:, :, 1] = np.clip((level - top) * 12, 0, 1)
    elif barrier.kind == "boards":
        step = max(2, int(0.14 * pixels))
        picture[:, :, 0] = 1 + 0.1 * grain
        gains = 1 + 0.12 * rng.standard_normal(columns // step + 1)
        picture[:, :, 0] *= np.repeat(gains, step)[None, :columns].astype(np.float32)
        picture[:, ::step, 0] *= 0.55
    else:
        picture[:, :, 1] = _railing(rows, columns, pixels, rng)
        picture[:, :, 0] = 1 + 0.08 * grain
    return picture


def _railing(
    rows: int, columns: int, pixels: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Cover of bars: uprights, rails and posts."""
    cover = np.zeros((rows, columns), np.float32)
    cover[:] = palette.choose(rng, (0.0, 0.0, 0.35))  # mesh
    step = max(3, int(float(rng.uniform(0.1, 0.2)) * pixels))
    bar = max(1, step // 4)
    for left in range(0, columns, step):
        cover[:, left : left + bar] = 1
    rail = max(1, int(0.05 * pixels))
    for share in (0.0, 0.85):
        top = int(share * rows)
        cover[top : top + rail + 1] = 1
    post = max(step, int(2.0 * pixels))
    for left in range(0, columns, post):
        cv2.rectangle(cover, (left, 0), (left + 2 * rail, rows), 1.0, -1)
    return cover
