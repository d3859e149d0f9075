"""A prediction painted over its image, with a legend of the classes below."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ROW, _SWATCH, _GAP = 18, 12, 6  # pixels
_SIZE = 0.42  # of the letters, in OpenCV's unit
_PAPER, _INK = 255, (20, 20, 20)


class Overlay:
    """Paints label maps over images; the legend is drawn once for each width.

    Args:
        classes: Names, in the order of the train ids.
        palette: RGB (0 to 255) of each class.
        opacity: Of the colours, in [0, 1]; pixels without a class stay as they are.

    Raises:
        ValueError: Another number of colours than classes, or an opacity out of range.

    >>> paint = Overlay(["road", "car"], [(128, 64, 128), (0, 0, 142)], opacity=1.0)
    >>> picture = paint(np.zeros((40, 200, 3), np.uint8), np.ones((40, 200), np.uint8))
    >>> picture.shape[1], picture[0, 0].tolist()
    (200, [0, 0, 142])
    """

    def __init__(
        self,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        *,
        opacity: float = 0.55,
    ) -> None:
        if len(classes) != len(palette):
            raise ValueError(
                f"An overlay needs a colour for each class, got {len(palette)} colours for "
                f"{len(classes)} classes."
            )
        if not 0 <= opacity <= 1:
            raise ValueError(f"opacity has to lie in [0, 1], not {opacity}.")
        self.classes, self.opacity = tuple(classes), opacity
        self.colours = np.asarray(palette, dtype=np.uint8).reshape(-1, 3)
        self._legends: dict[int, NDArray[np.uint8]] = {}

    def __call__(
        self, image: NDArray[np.uint8], label: NDArray[np.uint8], *, legend: bool = True
    ) -> NDArray[np.uint8]:
        """The picture (H', W', 3) uint8, RGB: below H rows of the image those of the legend.

        Args:
            image: (H, W, 3) uint8, RGB.
            label: (H, W) train ids; ids without a colour, such as 255, are not painted.
            legend: Draw it; W' is larger than W where one name needs more room.

        Raises:
            ValueError: Image and label have different sizes.
        """
        if image.shape[:2] != label.shape:
            raise ValueError(
                f"Image and label have to be of one size, got {image.shape[:2]} and {label.shape} "
                "(height, width)."
            )
        known = label < len(self.colours)
        painted = self.colours[np.where(known, label, 0)].astype(np.float32)
        mixed = self.opacity * painted + (1 - self.opacity) * image
        picture = np.where(known[..., None], np.rint(mixed), image).astype(np.uint8)
        if not legend:
            return picture
        strip = self.legend(picture.shape[1])
        missing = strip.shape[1] - picture.shape[1]
        around = ((0, 0), (0, missing), (0, 0))
        picture = np.pad(picture, around, constant_values=_PAPER) if missing else picture
        return np.concatenate([picture, strip])

    def legend(self, width: int) -> NDArray[np.uint8]:
        """The legend (rows, width or more, 3) uint8, RGB: a square and a name for each class."""
        if width not in self._legends:
            self._legends[width] = self._drawn(width)
        return self._legends[width]

    def _drawn(self, width: int) -> NDArray[np.uint8]:
        texts = [cv2.getTextSize(name, _FONT, _SIZE, 1)[0][0] for name in self.classes]
        cell = _SWATCH + 3 * _GAP + max(texts)
        columns = min(max(1, width // cell), len(self.classes))
        rows = -(-len(self.classes) // columns)
        shape = (rows * _ROW + 2 * _GAP, max(width, cell), 3)
        strip: NDArray[np.uint8] = np.full(shape, _PAPER, dtype=np.uint8)
        for number, (name, colour) in enumerate(zip(self.classes, self.colours, strict=True)):
            x = _GAP + number % columns * cell
            y = _GAP + number // columns * _ROW + (_ROW - _SWATCH) // 2
            strip[y : y + _SWATCH, x : x + _SWATCH] = colour
            place = (x + _SWATCH + _GAP, y + _SWATCH - 2)
            cv2.putText(strip, name, place, _FONT, _SIZE, _INK, 1, cv2.LINE_AA)
        return strip
