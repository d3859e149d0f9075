"""Pinhole camera over a flat, gently curved street."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Camera:
    """A camera above the ground that looks down a street.

    World axes: X right, Y up, Z forward, in metres, origin on the ground below the camera. Yaw is a
    shift of the vanishing point, pitch a shift of the horizon: for the small angles of a car's
    camera both differ from a rotation by less than a pixel. The street bends as
    X(Z) = X + curve * Z^2; projection adds the bend, so all callers think in a straight street.

    Attributes:
        width: Image width in pixels.
        height: Image height in pixels.
        focal: Focal length in pixels.
        centre: Column of the vanishing point in pixels.
        horizon: Row of the horizon in pixels.
        elevation: Height of the camera above the ground in metres.
        curve: Bend of the street in 1/metres.
    """

    width: int
    height: int
    focal: float
    centre: float
    horizon: float
    elevation: float
    curve: float = 0.0

    def project(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Pixel coordinates of world points.

        Args:
            points: (N, 3) world points X, Y, Z in metres, Z > 0.

        Returns:
            (N, 2) columns and rows in pixels.

        Example:
            >>> camera = Camera(320, 240, 300.0, 160.0, 120.0, 1.5)
            >>> camera.project([[0.0, 0.0, 10.0]]).tolist()
            [[160.0, 165.0]]
        """
        world = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        depth = world[:, 2]
        scale = self.focal / depth
        pixels = np.empty((len(world), 2))
        pixels[:, 0] = self.centre + scale * (world[:, 0] + self.curve * depth * depth)
        pixels[:, 1] = self.horizon + scale * (self.elevation - world[:, 1])
        return pixels

    def scale_at(self, depth: float) -> float:
        """Pixels a metre at a depth in metres."""
        return self.focal / depth

    def foot(self, x: float, depth: float) -> tuple[float, float]:
        """Pixel column and row of the ground point (x, depth), both in metres."""
        scale = self.focal / depth
        column = self.centre + scale * (x + self.curve * depth * depth)
        return column, self.horizon + scale * self.elevation

    def visible_from(self, x: float) -> float:
        """Depth in metres from which on a point at lateral position x is inside the image."""
        room = self.width - self.centre if x > 0 else self.centre
        return self.focal * abs(x) / max(room, 1.0)

    def ground_rows(self) -> tuple[int, npt.NDArray[np.float32]]:
        """First image row below the horizon and the depth in metres of each row from there on."""
        first = int(np.clip(np.floor(self.horizon) + 1, 0, self.height - 1))
        rows = np.arange(first, self.height, dtype=np.float32) + 0.5
        depth = self.focal * self.elevation / np.maximum(rows - self.horizon, 0.25)
        return first, depth.astype(np.float32)
