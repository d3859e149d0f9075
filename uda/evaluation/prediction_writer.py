"""Predictions as PNG files: train ids, and colours for looking at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from uda.files import write_atomically


class PredictionWriter:
    """Writes label maps to `FOLDER/NETWORK/IMAGE FOLDER/IMAGE STEM.png`, 8 bits, train ids.

    The name of the image's folder is kept because data sets such as Cityscapes sort their images
    by city, and evaluation servers ask for it. With a palette, a picture for the eye goes to
    `FOLDER/NETWORK_colour/...`, a tree of its own so that the id maps can be uploaded as they are.

    Args:
        folder: Root of the output; made when the first file is written.
        palette: RGB colour (0 to 255) of each class, or None for id maps alone.

    Raises:
        ValueError: The palette is not a list of RGB colours.
    """

    def __init__(
        self, folder: str | Path, *, palette: Sequence[Sequence[int]] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.colours = None if palette is None else _colour_table(palette)
        self._origin: dict[Path, str] = {}

    def write(self, prediction: Tensor, image_path: str, network: str) -> Path:
        """Write one prediction and return the path of its id map.

        Args:
            prediction: (H, W) integer train ids below 256.
            image_path: The image that was predicted; names the file.
            network: Top folder, "student" or "teacher".

        Returns:
            Path of the id map.

        Raises:
            ValueError: Another image has the same name and folder name, an id does not fit in
                8 bits, or the palette lacks a colour for it.
            OSError: The file cannot be written.
        """
        image = Path(image_path)
        relative = Path(image.parent.name, f"{image.stem}.png")
        path = self.folder / network / relative
        if self._origin.setdefault(path, image_path) != image_path:
            raise ValueError(
                f"{image_path} and {self._origin[path]} would both be saved as {path}; "
                "give images of one folder different names"
            )
        ids = prediction.cpu().numpy()
        if ids.size and not 0 <= ids.min() <= ids.max() <= 255:
            raise ValueError(
                f"predictions saved as 8-bit PNG must lie in [0, 255], got {ids.min()} to "
                f"{ids.max()} for {image_path}"
            )
        write_atomically(path, _png(ids.astype(np.uint8)))
        if self.colours is not None:
            coloured = self.folder / f"{network}_colour" / relative
            write_atomically(coloured, _png(_paint(ids, self.colours, image_path)))
        return path

    def start_again(self) -> None:
        """Forget which files were written: the next evaluation may replace them."""
        self._origin.clear()


def _paint(
    ids: npt.NDArray[np.integer], colours: npt.NDArray[np.uint8], image_path: str
) -> npt.NDArray[np.uint8]:
    """Return the (H, W, 3) RGB picture of an id map."""
    if ids.size and ids.max() >= len(colours):
        raise ValueError(
            f"palette must have a colour for each class, got {len(colours)} colours and class "
            f"{ids.max()} in the prediction for {image_path}"
        )
    painted: npt.NDArray[np.uint8] = colours[ids]
    return painted


def _colour_table(palette: Sequence[Sequence[int]]) -> npt.NDArray[np.uint8]:
    """Return the palette as a (K, 3) table."""
    table = np.asarray(palette)
    if table.ndim != 2 or table.shape[1] != 3 or table.min() < 0 or table.max() > 255:
        raise ValueError(
            f"palette must be a list of RGB colours from 0 to 255, got shape {table.shape}"
        )
    return table.astype(np.uint8)


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    """Return the PNG bytes of an (H, W) or RGB (H, W, 3) image."""
    if image.ndim == 3:
        image = np.ascontiguousarray(image[..., ::-1])  # OpenCV writes BGR
    return bytes(cv2.imencode(".png", image)[1])
