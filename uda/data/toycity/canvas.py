"""Image and label drawn together, so that every stroke carries its class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[float, float, float]
Points = npt.NDArray[np.float64]
_SHIFT = 4  # OpenCV's sub-pixel bits: 1/16 pixel
_LIMIT = 4000.0  # pixels; OpenCV's fixed point overflows far outside the image


@lru_cache(maxsize=32)
def circle(sides: int) -> Points:
    """Corners of a regular polygon with radius 1, (sides, 2)."""
    angles = np.arange(sides) * (2 * math.pi / sides)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _fixed(points: npt.NDArray[np.floating]) -> npt.NDArray[np.int32]:
    """OpenCV's fixed point coordinates, kept near the image."""
    scaled = np.minimum(np.maximum(points, -_LIMIT), _LIMIT) * (1 << _SHIFT)
    return np.asarray(np.rint(scaled), np.int32)


class Canvas:
    """An RGB image and its trainId label, painted from far to near.

    Edges of the image are antialiased, those of the label are not.

    Args:
        height: Rows in pixels.
        width: Columns in pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        """Start black and unlabelled (255)."""
        self.image: npt.NDArray[np.uint8] = np.zeros((height, width, 3), np.uint8)
        self.label: npt.NDArray[np.uint8] = np.full((height, width), 255, np.uint8)
        self.height = height
        self.width = width

    def polygon(self, points: npt.ArrayLike, colour: Colour, class_id: int | None) -> None:
        """Fill a polygon in image and label.

        Args:
            points: (N, 2) columns and rows in pixels.
            colour: RGB in [0, 255].
            class_id: trainId, or None to leave the label as it is.
        """
        fixed = _fixed(np.asarray(points, np.float64))
        cv2.fillPoly(self.image, [fixed], colour, cv2.LINE_AA, _SHIFT)
        if class_id is not None:
            cv2.fillPoly(self.label, [fixed], class_id, cv2.LINE_8, _SHIFT)

    def limb(
        self,
        start: Sequence[float],
        end: Sequence[float],
        widths: tuple[float, float],
        colour: Colour,
        class_id: int | None,
    ) -> None:
        """Draw a tapered bar between two points; widths in pixels at both ends."""
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length / 2, dx / length / 2
        first, last = widths
        corners = [
            (start[0] + nx * first, start[1] + ny * first),
            (end[0] + nx * last, end[1] + ny * last),
            (end[0] - nx * last, end[1] - ny * last),
            (start[0] - nx * first, start[1] - ny * first),
        ]
        self.polygon(corners, colour, class_id)

    def disc(
        self,
        centre: Sequence[float],
        radii: tuple[float, float],
        colour: Colour,
        class_id: int | None,
        sides: int = 12,
    ) -> None:
        """Fill an upright ellipse; radii (horizontal, vertical) in pixels."""
        self.polygon(circle(sides) * np.array(radii) + np.array(centre), colour, class_id)

    def window(self, points: Points) -> tuple[int, int, int, int] | None:
        """Part of the image that the points span: (left, top, right, bottom), None if empty."""
        left = max(0, math.floor(points[:, 0].min()))
        top = max(0, math.floor(points[:, 1].min()))
        right = min(self.width, math.ceil(points[:, 0].max()) + 1)
        bottom = min(self.height, math.ceil(points[:, 1].max()) + 1)
        if right - left < 1 or bottom - top < 1:
            return None
        return left, top, right, bottom

    def plane(
        self,
        corners: Points,
        texture: npt.NDArray[np.uint8],
        class_id: int,
        *,
        solid: bool = True,
    ) -> None:
        """Warp a texture on a quadrilateral.

        Args:
            corners: (4, 2) pixels of the texture's top left, top right, bottom right, bottom left.
            texture: (h, w, 3) RGB or (h, w, 4) RGB and alpha, uint8.
            class_id: trainId of the painted pixels.
            solid: Label the whole quadrilateral (a railing with its gaps); else where alpha > 127.
        """
        box = self.window(corners)
        if box is None:
            return
        left, top, right, bottom = box
        rows, columns = texture.shape[:2]
        outline = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
        shifted = (corners - (left, top)).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(outline, shifted)
        size = (right - left, bottom - top)
        warped = cv2.warpPerspective(
            texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros((size[1], size[0]), np.uint8)
        cv2.fillConvexPoly(mask, _fixed(shifted), 255, cv2.LINE_8, _SHIFT)
        self._compose(box, warped, mask, class_id, solid=solid)

    def sprite(
        self,
        box: tuple[float, float, float, float],
        texture: npt.NDArray[np.uint8],
        class_id: int,
        labelled: npt.NDArray[np.uint8] | None = None,
    ) -> None:
        """Paste an upright RGBA picture, scaled to a box.

        Args:
            box: Left, top, right, bottom in pixels.
            texture: (h, w, 4) RGB and alpha, uint8.
            class_id: trainId of the painted pixels.
            labelled: (h, w) uint8, labelled where > 127; default alpha > 127.
        """
        left, top, right, bottom = box
        corners = np.array([[left, top], [right, bottom]], np.float64)
        window = self.window(corners)
        if window is None or right - left < 1 or bottom - top < 1:
            return
        x0, y0, x1, y1 = window
        rows, columns = texture.shape[:2]
        sx, sy = columns / (right - left), rows / (bottom - top)
        if max(sx, sy) > 1.5:  # shrink by area first: the affine step samples single pixels
            factor = 1.0 / max(sx, sy)
            size = (max(2, round(columns * factor)), max(2, round(rows * factor)))
            texture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA)
            if labelled is not None:
                labelled = cv2.resize(labelled, size, interpolation=cv2.INTER_AREA)
            sx, sy = size[0] / (right - left), size[1] / (bottom - top)
        matrix = np.array([[sx, 0, (x0 - left) * sx], [0, sy, (y0 - top) * sy]], np.float64)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        area = (x1 - x0, y1 - y0)
        warped = cv2.warpAffine(texture, matrix, area, flags=flags)
        mask = None
        if labelled is not None:
            mask = cv2.warpAffine(labelled, matrix, area, flags=flags)
        self._compose(window, warped, mask, class_id, solid=labelled is not None)

    def _compose(
        self,
        box: tuple[int, int, int, int],
        picture: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.uint8] | None,
        class_id: int,
        *,
        solid: bool,
    ) -> None:
        """Blend a picture in a window and label it."""
        left, top, right, bottom = box
        image = self.image[top:bottom, left:right]
        label = self.label[top:bottom, left:right]
        if picture.shape[2] == 3:
            if mask is None:
                image[...] = picture
                label[...] = class_id
                return
            cv2.copyTo(picture, mask, image)
            label[mask > 127] = class_id
            return
        alpha = picture[:, :, 3]
        if mask is not None and not solid:
            alpha = cv2.min(alpha, mask)
        chosen = alpha if mask is None or not solid else mask
        weight = cv2.merge([alpha, alpha, alpha])
        front = cv2.multiply(np.ascontiguousarray(picture[:, :, :3]), weight, scale=1 / 255)
        back = cv2.multiply(image, cv2.bitwise_not(weight), scale=1 / 255)
        image[...] = cv2.add(front, back)
        label[chosen > 127] = class_id
