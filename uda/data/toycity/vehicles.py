"""Cars, vans, trucks, buses and trams: a side profile extruded to the vehicle's width."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from uda.data.toycity.canvas import Canvas, Colour, circle
from uda.data.toycity.scene import Scene, Vehicle

# Ten corners from the rear bumper over the roof to the front bumper: (share of the length from the
# middle, share of the height). The nine strips between them have fixed roles, see _STRIPS.
_PROFILES: dict[str, list[tuple[float, float]]] = {
    "hatch": [(-0.49, 0.2), (-0.5, 0.5), (-0.48, 0.63), (-0.38, 0.95), (-0.3, 1.0),
              (0.05, 1.0), (0.26, 0.65), (0.44, 0.55), (0.5, 0.42), (0.49, 0.17)],
    "sedan": [(-0.49, 0.22), (-0.5, 0.56), (-0.34, 0.66), (-0.19, 0.95), (-0.12, 1.0),
              (0.06, 1.0), (0.25, 0.66), (0.45, 0.56), (0.5, 0.42), (0.49, 0.18)],
    "suv": [(-0.49, 0.22), (-0.5, 0.52), (-0.49, 0.62), (-0.44, 0.95), (-0.38, 1.0),
            (0.1, 1.0), (0.25, 0.66), (0.45, 0.58), (0.5, 0.46), (0.49, 0.2)],
    "van": [(-0.49, 0.16), (-0.5, 0.4), (-0.5, 0.55), (-0.485, 0.95), (-0.46, 1.0),
            (0.24, 1.0), (0.37, 0.6), (0.47, 0.48), (0.5, 0.38), (0.49, 0.14)],
    "box": [(-0.5, 0.12), (-0.5, 0.34), (-0.5, 0.46), (-0.498, 0.9), (-0.49, 1.0),
            (0.48, 1.0), (0.49, 0.44), (0.5, 0.36), (0.5, 0.3), (0.5, 0.1)],
}  # fmt: skip
_STRIPS = ("tail", "shelf", "rear glass", "lip", "roof", "windscreen", "hood", "nose", "bumper")
_FACING_UP = {"shelf": 0.5, "lip": 0.5, "roof": 1.0, "hood": 0.8, "windscreen": 0.4}
_GLASS: Colour = (34, 38, 42)
_TYRE: Colour = (22, 22, 24)
Points = npt.NDArray[np.float64]


def draw_vehicle(canvas: Canvas, scene: Scene, car: Vehicle, rng: np.random.Generator) -> None:
    """Paint one vehicle with wheels, glass, lamps and plate."""
    VehiclePainter(canvas, scene, car, rng).paint()


class VehiclePainter:
    """Draws one vehicle; its own frame has l forward, w right, y up, in metres."""

    def __init__(
        self, canvas: Canvas, scene: Scene, car: Vehicle, rng: np.random.Generator
    ) -> None:
        """Place the vehicle under the camera."""
        self.canvas, self.scene, self.car, self.rng = canvas, scene, car, rng
        name = "box" if car.kind in ("truck", "bus", "tram") else car.kind
        length, self.width, height = car.size
        self.profile = [(x * length, y * height) for x, y in _PROFILES[name]]
        self.heavy = name == "box"
        self.far_away = scene.camera.scale_at(car.depth) < 9  # pixels a metre: no fine detail
        self.roof_taper = 0.97 if self.heavy else 0.8 if name != "van" else 0.9
        self.cosine, self.sine = math.cos(car.yaw), math.sin(car.yaw)
        camera = scene.camera
        bend = camera.curve * car.depth**2
        # The eye in the vehicle's frame decides which faces show.
        dx, dz = -(car.x + bend), -car.depth
        self.eye_w = dx * self.cosine - dz * self.sine
        self.eye_l = dx * self.sine + dz * self.cosine

    def project(self, points: npt.ArrayLike) -> Points:
        """Pixels of (l, w, y) points."""
        local = np.asarray(points, np.float64)
        world = np.empty_like(local)
        world[:, 0] = self.car.x + local[:, 1] * self.cosine + local[:, 0] * self.sine
        world[:, 1] = local[:, 2]
        depth = self.car.depth - local[:, 1] * self.sine + local[:, 0] * self.cosine
        world[:, 2] = np.maximum(depth, 0.8)
        return self.scene.camera.project(world)

    def fill(self, points: npt.ArrayLike, colour: Colour, shade: float) -> None:
        """Fill a polygon of (l, w, y) points."""
        tint = self.scene.light.paint(colour, shade, self.car.depth)
        self.canvas.polygon(self.project(points), tint, self.car.class_id)

    def half(self, y: float) -> float:
        """Half the width at a height: the cabin leans in above the belt."""
        height = self.car.size[2]
        share = min(max((y / height - 0.6) / 0.4, 0.0), 1.0)
        return self.width / 2 * (1 - (1 - self.roof_taper) * share)

    def paint(self) -> None:
        """Draw from the far parts to the near ones."""
        if self.car.depth - abs(self.car.size[0] / 2 * self.cosine) < 1.6:
            return
        self._wheels(-1 if self.eye_w > 0 else 1, far=True)
        visible = 1 if self.eye_w > 0 else -1
        strips = []
        for index, role in enumerate(_STRIPS):
            (l0, y0), (l1, y1) = self.profile[index], self.profile[index + 1]
            # Outward normal of the strip in the (l, y) plane.
            facing = (self.eye_l - l0) * -(y1 - y0)
            facing += (self.scene.camera.elevation - y0) * (l1 - l0)
            if facing > 0:
                strips.append((abs(self.eye_l - (l0 + l1) / 2), index, role))
        for _, index, role in sorted(strips, reverse=True):
            self._strip(index, role)
        if abs(self.eye_w) > self.width / 2:
            self._flank(visible)

    def _strip(self, index: int, role: str) -> None:
        (l0, y0), (l1, y1) = self.profile[index], self.profile[index + 1]
        w0, w1 = self.half(y0), self.half(y1)
        light = self.scene.light
        up = _FACING_UP.get(role, 0.0)
        shade = up * light.top * 1.1 + (1 - up) * light.front * 1.1
        quad = [(l0, -w0, y0), (l0, w0, y0), (l1, w1, y1), (l1, -w1, y1)]
        self.fill(quad, self.car.colour, shade)
        if role in ("rear glass", "windscreen") and not (self.heavy and self.car.kind == "truck"):
            self._glass(quad, shade)
        if role == "windscreen" and self.car.kind == "truck":
            self._glass(quad, shade)
        if role in ("tail", "nose", "bumper"):
            self._lamps(index, role)

    def _inset(
        self, quad: list[tuple[float, float, float]], across: float, along: float
    ) -> list[tuple[float, float, float]]:
        """A quadrilateral shrunk towards its middle."""
        corners = np.array(quad)
        middle = corners.mean(axis=0)
        scale = np.array([along, across, along])
        return [tuple(point) for point in (middle + (corners - middle) * scale).tolist()]

    def _glass(self, quad: list[tuple[float, float, float]], shade: float) -> None:
        sky = float(self.rng.uniform(0.0, 0.4))
        colour = tuple(g + (s - g) * sky for g, s in zip(_GLASS, self.scene.light.sky, strict=True))
        self.fill(self._inset(quad, 0.86, 0.84), colour, shade)  # type: ignore[arg-type]
        lower = self._inset(quad, 0.8, 0.78)
        if self.far_away:
            return
        low = [lower[0], lower[1]]
        middle = [
            tuple(float(v) for v in (np.array(a) + np.array(b)) / 2)
            for a, b in ((lower[1], lower[2]), (lower[0], lower[3]))
        ]
        self.fill(low + middle, (26, 27, 29), shade)

    def _lamps(self, index: int, role: str) -> None:
        """Lamps at the corners, bumper, plate."""
        (l0, y0), (l1, y1) = self.profile[index], self.profile[index + 1]
        front = self.scene.light.front
        glow = self.scene.light.lamps
        if role == "bumper":
            low = y0 + 0.55 * (y1 - y0)
            half = self.half(y0)
            band = [(l0, -half, low), (l0, half, low), (l1, half, y1), (l1, -half, y1)]
            self.fill(band, (40, 40, 42), front)
            self._plate(l0 + 0.02, (y0 + y1) / 2, (225, 225, 215))
            return
        end = l1 - 0.02 if role == "tail" else l0 + 0.03
        half = self.half(y1) * 0.97
        tall = (0.42 if role == "tail" else 0.8) * abs(y1 - y0)
        top = y1 if role == "tail" else y0
        wide = 0.22 if role == "tail" else 0.36
        if self.heavy:
            tall, wide, top = 0.25, 0.25, min(y0, y1) + 0.45
        lit = self.rng.random() < (0.25 + 0.7 * (glow - 0.3))
        colour: Colour = (150, 22, 20) if role == "tail" else (205, 205, 200)
        shade = front * 0.9
        if lit:
            colour = (255, 60, 40) if role == "tail" else (255, 250, 225)
            shade = max(shade, 0.5 + glow)
        for side in (-1, 1):
            outer, inner = side * half, side * (half - wide)
            box = [(end, outer, top - tall), (end, inner, top - tall), (end, inner, top),
                   (end, outer, top)]  # fmt: skip
            self.fill(box, colour, shade)
        if role == "tail":
            base = y0 + 0.3 * (y1 - y0)
            bumper = [(l0, -half, y0), (l0, half, y0), (l0, half, base), (l0, -half, base)]
            self.fill(bumper, (44, 44, 46), front)
            yellow = self.rng.random() < 0.5
            plate = (222, 190, 60) if yellow else (226, 226, 218)
            self._plate(end, y0 + 0.55 * (y1 - y0), plate)

    def _plate(self, end: float, y: float, colour: Colour) -> None:
        box = [(end, -0.26, y - 0.06), (end, 0.26, y - 0.06), (end, 0.26, y + 0.06),
               (end, -0.26, y + 0.06)]  # fmt: skip
        self.fill(box, colour, self.scene.light.front * 0.95)

    def _flank(self, side: int) -> None:
        """The long side: body, darker sill, windows with pillars, wheels, door lines."""
        light = self.scene.light
        # Its normal in the world tells whether it faces the camera or the street's other side.
        toward = abs(self.sine)
        world = side * self.cosine
        shade = toward * light.front + (1 - toward) * (light.left if world > 0 else light.right)
        body = [(x, side * self.half(y), y) for x, y in self.profile]
        self.fill(body, self.car.colour, shade)
        height, length = self.car.size[2], self.car.size[0]
        (lr, yr), (lf, yf) = self.profile[0], self.profile[9]
        sill = 0.36 * height if not self.heavy else 0.22 * height
        half = side * self.width / 2
        lower = [(lr, half, yr), (lr, half, sill), (lf, half, sill), (lf, half, yf)]
        self.fill(lower, tuple(v * 0.72 for v in self.car.colour), shade)  # type: ignore[arg-type]
        if not self.far_away:
            self._trim(side, shade, height, length)
        if self.car.kind != "truck":
            self._side_windows(side, shade, height, length)
        else:
            self._side_windows(side, shade, height, length, cab=True)
        self._wheels(side, far=False)

    def _trim(self, side: int, shade: float, height: float, length: float) -> None:
        """A bright edge below the windows that mirrors the sky, and the gaps of the doors."""
        w = side * (self.width / 2 + 0.004)
        low, high = (0.55 * height, 0.6 * height) if not self.heavy else (0.4, 0.5)
        bright = tuple(min(255.0, v * 1.25 + 24) for v in self.car.colour)
        left, right = -0.47 * length, 0.44 * length
        edge = [(left, w, low), (right, w, low), (right, w, high), (left, w, high)]
        self.fill(edge, bright, shade)  # type: ignore[arg-type]
        dark = tuple(v * 0.45 for v in self.car.colour)
        for place in (-0.13 * length, 0.1 * length, 0.24 * length):
            line = [(place, w, 0.24 * height), (place + 0.025, w, 0.24 * height),
                    (place + 0.025, w, 0.62 * height), (place, w, 0.62 * height)]  # fmt: skip
            self.fill(line, dark, shade)  # type: ignore[arg-type]

    def _side_windows(
        self, side: int, shade: float, height: float, length: float, *, cab: bool = False
    ) -> None:
        (l2, y2), (l3, y3) = self.profile[2], self.profile[3]
        (l5, y5), (l6, y6) = self.profile[5], self.profile[6]
        low = max(y2, y6) + 0.02 * height
        high = min(y3, y5) - 0.05 * height
        rear_low, rear_high = l2 + 0.05 * length, l3 + 0.04 * length
        front_low, front_high = l6 - 0.05 * length, l5 - 0.01 * length
        if self.heavy:
            low = 0.5 * height
            front_low = front_high = 0.47 * length
            rear_low = rear_high = (0.3 if cab else -0.47) * length
        if self.car.kind == "van" and self.rng.random() < 0.6:
            rear_low = rear_high = 0.08 * length  # a panel van has glass in the doors only
        panes = max(2, int(length / 1.5)) if self.heavy and not cab else 3 if not cab else 1
        reflect = float(self.rng.uniform(0.0, 0.35))
        sky = self.scene.light.sky
        glass = tuple(g + (s - g) * reflect for g, s in zip(_GLASS, sky, strict=True))
        for pane in range(panes):
            a, b = pane / panes + 0.03, (pane + 1) / panes - 0.03
            w_low, w_high = side * (self.half(low) + 0.01), side * (self.half(high) + 0.01)
            quad = [
                (rear_low + a * (front_low - rear_low), w_low, low),
                (rear_low + b * (front_low - rear_low), w_low, low),
                (rear_high + b * (front_high - rear_high), w_high, high),
                (rear_high + a * (front_high - rear_high), w_high, high),
            ]
            self.fill(quad, glass, shade)  # type: ignore[arg-type]

    def _ring(
        self, place: float, w: float, radius: float, share: float, colour: Colour, shade: float
    ) -> None:
        """A disc on an axle at height `radius`, with a share of the wheel's radius."""
        points = np.empty((12, 3))
        points[:, 0] = place + share * radius * circle(12)[:, 0]
        points[:, 1] = w
        points[:, 2] = radius + share * radius * circle(12)[:, 1]
        self.fill(points, colour, shade)

    def _wheels(self, side: int, *, far: bool) -> None:
        """Tyres of one side: discs on the visible flank, blocks where only their tread shows."""
        length, _, height = self.car.size
        radius = 0.46 if self.heavy else 0.215 * min(height, 1.6)
        half = side * self.width / 2
        front = self.scene.light.front
        for place in (-0.31 * length, 0.31 * length):
            if not self.far_away:
                if not far:
                    self._ring(place, half + 0.002 * side, radius, 1.16, (30, 30, 31), front)
                self._ring(place, half - side * 0.22, radius, 1.0, _TYRE, front)
            self._ring(place, half, radius, 1.0, _TYRE, front)
            block = [
                (place - radius, half, radius),
                (place - radius, half - side * 0.22, radius),
                (place - radius, half - side * 0.22, 0.02),
                (place - radius, half, 0.02),
            ]
            self.fill(block, _TYRE, front)
            if not far and not self.far_away:
                self._ring(place, half + side * 0.01, radius, 0.6, (138, 140, 142), front)
        if far:
            end = -0.31 * length
            under = [
                (end, -self.width / 2, 0.12),
                (end, self.width / 2, 0.12),
                (end, self.width / 2, 0.45 * height),
                (end, -self.width / 2, 0.45 * height),
            ]
            self.fill(under, (16, 16, 17), 1.0)
            for place in (-0.31 * length, 0.31 * length):
                tread = [
                    (place, -half, 0.02),
                    (place, -half + side * 0.22, 0.02),
                    (place, -half + side * 0.22, radius),
                    (place, -half, radius),
                ]
                self.fill(tread, _TYRE, front)
