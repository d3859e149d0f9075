"""A folder of predictions: what is written for an image, and what is there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from uda.engine.image_prediction import Prediction
from uda.evaluation.benchmark_formats import BenchmarkFormat
from uda.files import write_atomically
from uda.reports.overlay import Overlay

SETTINGS_FILE = "predictions.json"
TRAIN_IDS, OVERLAY = "train_ids", "overlay"


class PredictionFolder:
    """Writes each image's files whole or not at all, and knows which images have all of theirs.

    | file | content |
    | --- | --- |
    | `train_ids/NAME.png` | 8 bits, train ids, of the image's size |
    | `overlay/NAME.png` | the colours of the classes over the image, with a legend |
    | `BENCHMARK/...` | what the benchmark's server asks for |
    | `predictions.json` | the settings everything here was made with |

    Args:
        folder: Made when the first file is written.
        settings: What the predictions depend on, plain values. A folder holds those of one.
        overlay: Paints; None: no overlays.
        benchmark: A server's format by the name of its folder; None: none.

    Raises:
        ValueError: The folder holds predictions made with other settings, or its note is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        settings: Mapping[str, Any],
        overlay: Overlay | None = None,
        benchmark: tuple[str, BenchmarkFormat] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.settings = json.loads(json.dumps(dict(settings)))
        self.overlay, self.benchmark = overlay, benchmark
        self._check_settings()

    def done(self, name: str, image: Path) -> bool:
        """Whether all files of an image are there.

        Args:
            name: From `find_inputs`.
            image: Its file.

        Raises:
            ValueError: The image is not named as those of the benchmark.
        """
        files = [self._train_ids(name)]
        if self.overlay is not None:
            files.append(self._overlay(name))
        if self.benchmark is not None:
            folder, server = self.benchmark
            wanted = server.file(image)
            kinds = server.maps(np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.float32))
            files += [self.folder / folder / kind / wanted for kind in kinds]
        return all(file.is_file() for file in files)

    def write(
        self, name: str, image: Path, pixels: NDArray[np.uint8], prediction: Prediction
    ) -> None:
        """Write the files of one image.

        Args:
            name: From `find_inputs`.
            image: Its file.
            pixels: (H, W, 3) uint8, BGR.
            prediction: Of these pixels.

        Raises:
            ValueError: The image is none of the benchmark.
            OSError: A file cannot be written.
        """
        maps = {}
        if self.benchmark is not None:
            folder, server = self.benchmark
            files = server.files(image, prediction.label, prediction.confidence)
            maps = {self.folder / folder / path: one for path, one in files.items()}
        self.note_settings()
        for path, one in maps.items():
            write_atomically(path, _png(one))
        if self.overlay is not None:
            picture = self.overlay(np.asarray(pixels[..., ::-1]), prediction.label)
            write_atomically(self._overlay(name), _png(picture[..., ::-1]))
        write_atomically(self._train_ids(name), _png(prediction.label))

    def video_file(self, name: str) -> Path:
        """Where the overlay of a video goes."""
        return self.folder / OVERLAY / f"{name}.mp4"

    def note_settings(self) -> None:
        """Write the settings beside the predictions, once."""
        file = self.folder / SETTINGS_FILE
        if not file.is_file():
            write_atomically(file, (json.dumps(self.settings, indent=2) + "\n").encode())

    def _train_ids(self, name: str) -> Path:
        return self.folder / TRAIN_IDS / f"{name}.png"

    def _overlay(self, name: str) -> Path:
        return self.folder / OVERLAY / f"{name}.png"

    def _check_settings(self) -> None:
        file = self.folder / SETTINGS_FILE
        if not file.is_file():
            return
        try:
            noted: Any = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise ValueError(
                f"{file.absolute()} says what the predictions beside it were made with, but cannot "
                f"be read ({error}); give another --out, or remove the folder."
            ) from error
        noted = noted if isinstance(noted, dict) else {}
        keys = sorted(set(noted) | set(self.settings))
        other = [key for key in keys if noted.get(key) != self.settings.get(key)]
        if other:
            key = other[0]
            raise ValueError(
                f"{self.folder.absolute()} holds predictions with {key}={noted.get(key)!r}, not "
                f"{self.settings.get(key)!r}; give another --out, or remove the folder."
            )


def _png(image: NDArray[Any]) -> bytes:
    """The PNG of a map, or of a picture (H, W, 3) in BGR."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(image))[1])
