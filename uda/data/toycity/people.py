"""Pedestrians and riders: jointed figures in clothes, bicycles and motorcycles."""

from __future__ import annotations

import math

import numpy as np

from uda.data.toycity import palette
from uda.data.toycity.canvas import Canvas, Colour
from uda.data.toycity.scene import Person, Scene

PERSON, RIDER, MOTORCYCLE, BICYCLE = 11, 12, 17, 18


def draw_person(canvas: Canvas, scene: Scene, person: Person, rng: np.random.Generator) -> None:
    """Paint a pedestrian, a rider with the vehicle, or a parked two-wheeler."""
    figure = FigurePainter(canvas, scene, person, rng)
    if not person.mount:
        figure.pedestrian()
        return
    engine = "motorcycle" in person.mount
    figure.two_wheeler(engine)
    if not person.mount.startswith("bare"):
        figure.rider(engine)


class FigurePainter:
    """Draws one figure; its frame has x right and y up in metres, origin between the feet."""

    def __init__(
        self, canvas: Canvas, scene: Scene, person: Person, rng: np.random.Generator
    ) -> None:
        """Place the figure and dress it."""
        self.canvas, self.scene, self.person, self.rng = canvas, scene, person, rng
        self.column, self.row = scene.camera.foot(person.x, person.depth)
        self.scale = scene.camera.scale_at(person.depth)
        self.unit = person.height / 1.75
        self.facing = 1 if rng.random() < 0.5 else -1
        self.top = palette.cloth_colour(rng)
        self.bottom = palette.cloth_colour(rng)
        self.skin = palette.skin_colour(rng)
        self.hair = palette.hair_colour(rng)
        self.shade = scene.light.front * float(rng.uniform(0.8, 1.1))

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of a point of the figure."""
        size = self.scale * self.unit
        return self.column + self.facing * x * size, self.row - y * size

    def tint(self, colour: Colour, gain: float = 1.0) -> Colour:
        """A colour under the street's light."""
        return self.scene.light.paint(colour, self.shade * gain, self.person.depth)

    def limb(
        self,
        points: list[tuple[float, float]],
        widths: tuple[float, float],
        colour: Colour,
        class_id: int,
    ) -> None:
        """A chain of tapered bars, widths in metres from start to end."""
        size = self.scale * self.unit
        steps = np.linspace(widths[0], widths[1], len(points)) * size
        tint = self.tint(colour)
        for index in range(len(points) - 1):
            start, end = self.at(*points[index]), self.at(*points[index + 1])
            pair = (float(steps[index]), float(steps[index + 1]))
            self.canvas.limb(start, end, pair, tint, class_id)

    def head(self, x: float, y: float, class_id: int, helmet: Colour | None = None) -> None:
        """A head with hair or helmet; (x, y) its middle."""
        size = self.scale * self.unit
        centre = self.at(x, y)
        hair = self.hair if helmet is None else helmet
        self.canvas.disc(centre, (0.1 * size, 0.13 * size), self.tint(hair), class_id)
        if self.rng.random() < 0.6:  # the face shows
            face = self.at(x + 0.015, y - 0.03)
            self.canvas.disc(face, (0.075 * size, 0.095 * size), self.tint(self.skin), class_id)

    def pedestrian(self) -> None:
        """A walking or standing person."""
        rng = self.rng
        stride = float(rng.uniform(*((0.05, 0.42) if self.person.sideways else (0.02, 0.12))))
        hips = 0.86
        spread = 0.08 if self.person.sideways else 0.16
        swing = stride / 2
        shoes = (26, 24, 24)
        for side, gain in ((-1, 0.8), (1, 1.0)):
            knee = (side * (spread / 2 + swing * 0.5) + 0.03, 0.48)
            foot = (side * (spread / 2 + swing), 0.05 + (0.06 if side < 0 else 0.0))
            leg = tuple(value * gain for value in self.bottom)
            self.limb([(side * spread / 2, hips), knee, foot], (0.2, 0.11), leg, PERSON)  # type: ignore[arg-type]
            self.limb([foot, (foot[0] + 0.12, 0.03)], (0.09, 0.06), shoes, PERSON)
        wide = 0.3 if self.person.sideways else 0.42
        shoulder = wide / 2
        long = palette.choose(rng, (0.0, 0.0, 0.25))  # a coat
        torso = [(-wide * 0.4, hips - 0.06 - long), (-shoulder, 1.42), (-0.08, 1.52),
                 (0.08, 1.52), (shoulder, 1.42), (wide * 0.42, hips - 0.06 - long)]  # fmt: skip
        self.canvas.polygon([self.at(*p) for p in torso], self.tint(self.top), PERSON)
        for side, gain in ((-1, 0.8), (1, 1.12)):
            reach = side * swing * -0.7 if self.person.sideways else side * 0.06
            start = (side * shoulder * (0.3 if self.person.sideways else 1.0), 1.4)
            elbow = (start[0] + reach * 0.5, 1.13)
            hand = (start[0] + reach + 0.05, 0.88)
            sleeve = tuple(value * gain for value in self.top)
            self.limb([start, elbow, hand], (0.13, 0.08), sleeve, PERSON)  # type: ignore[arg-type]
        self.head(0.02, 1.63, PERSON)
        if rng.random() < 0.35:
            bag = palette.cloth_colour(rng)
            shift = palette.choose(rng, (-1, 1)) * shoulder
            y = float(rng.uniform(0.7, 1.1))
            corners = [
                (shift - 0.1, y),
                (shift + 0.12, y),
                (shift + 0.1, y + 0.3),
                (shift - 0.1, y + 0.3),
            ]
            self.canvas.polygon([self.at(*p) for p in corners], self.tint(bag), PERSON)

    def two_wheeler(self, engine: bool) -> None:
        """A bicycle or motorcycle, from the side or from behind."""
        class_id = MOTORCYCLE if engine else BICYCLE
        size = self.scale * self.unit
        black: Colour = (26, 26, 28)
        paint = palette.bright_colour(self.rng)
        if not self.person.sideways:
            wide = 0.16 if engine else 0.06
            self.limb([(0, 0.02), (0, 0.68)], (wide, wide), black, class_id)
            bar = 0.34 if engine else 0.27
            self.limb([(-bar, 1.02), (bar, 1.02)], (0.05, 0.05), (60, 60, 62), class_id)
            self.limb([(0, 0.6), (0, 1.02)], (0.08, 0.06), paint, class_id)
            if engine:
                self.limb([(0, 0.35), (0, 0.9)], (0.4, 0.34), paint, class_id)
            if self.scene.light.lamps > 0.5:
                lamp = self.scene.light.paint((255, 50, 40), 1.0, self.person.depth)
                self.canvas.disc(self.at(0, 0.72), (0.05 * size, 0.05 * size), lamp, class_id, 6)
            return
        for x in (-0.52, 0.52):
            self._wheel(x, 0.34, class_id, solid=engine)
        frame = [(-0.52, 0.34), (-0.1, 0.32), (0.38, 0.82), (-0.2, 0.8), (-0.1, 0.32)]
        self.limb(frame, (0.06, 0.05), paint, class_id)
        self.limb([(0.52, 0.34), (0.36, 1.0), (0.5, 1.05)], (0.05, 0.05), paint, class_id)
        self.limb([(-0.34, 0.9), (-0.08, 0.9)], (0.08, 0.06), black, class_id)
        if engine:
            body = [(-0.5, 0.5), (-0.45, 0.85), (0.2, 0.95), (0.42, 0.8), (0.2, 0.3), (-0.2, 0.25)]
            self.canvas.polygon([self.at(*p) for p in body], self.tint(paint), class_id)

    def _wheel(self, x: float, radius: float, class_id: int, *, solid: bool) -> None:
        size = self.scale * self.unit
        tyre: Colour = (28, 28, 30)
        if solid:
            centre = self.at(x, radius)
            self.canvas.disc(centre, (radius * size, radius * size), self.tint(tyre), class_id)
            inner = radius * 0.55 * size
            self.canvas.disc(centre, (inner, inner), self.tint((110, 110, 112)), class_id)
            return
        angles = np.arange(13) * (2 * math.pi / 12)
        rim = [(x + radius * math.cos(a), radius + radius * math.sin(a)) for a in angles]
        self.limb(rim, (0.06, 0.06), tyre, class_id)

    def rider(self, engine: bool) -> None:
        """A person on the two-wheeler."""
        rng = self.rng
        vest = rng.random() < 0.25
        top: Colour = (196, 212, 40) if vest else self.top
        helmet = palette.bright_colour(rng) if engine or rng.random() < 0.4 else None
        seat = 0.92
        if self.person.sideways:
            pedal = float(rng.uniform(0.12, 0.3))
            self.limb([(-0.2, seat), (0.16, 0.72), (0.0, pedal)], (0.19, 0.1), self.bottom, RIDER)
            self.limb([(-0.28, seat), (0.0, 1.2), (0.16, 1.42)], (0.27, 0.32), top, RIDER)
            self.limb([(0.16, 1.38), (0.26, 1.16), (0.46, 1.06)], (0.12, 0.08), top, RIDER)
            self.head(0.26, 1.6, RIDER, helmet)
            return
        for side in (-1, 1):
            low = 0.2 if side < 0 else 0.34
            leg = [(side * 0.1, seat), (side * 0.19, 0.6), (side * 0.12, low)]
            self.limb(leg, (0.2, 0.11), self.bottom, RIDER)
            arm = [(side * 0.2, 1.36), (side * 0.3, 1.15), (side * 0.25, 1.02)]
            self.limb(arm, (0.13, 0.09), top, RIDER)
        torso = [(-0.17, seat - 0.06), (-0.23, 1.36), (-0.1, 1.48), (0.1, 1.48), (0.23, 1.36),
                 (0.17, seat - 0.06)]  # fmt: skip
        self.canvas.polygon([self.at(*p) for p in torso], self.tint(top), RIDER)
        self.head(0.0, 1.6, RIDER, helmet)
