"""Predictions as the servers of benchmarks ask for them: numbers, sizes and names of files.

Sources. Cityscapes: cityscapesScripts, `evaluation/evalPixelLevelSemanticLabeling.py`: label ids
(not train ids), files found by `<city>_123456_123456*.png` in any folder. ACDC: README of HRDA
(Hoyer et al., ECCV 2022), "Testing": train ids, files named as the images. Dark Zurich: the server
of GCMA/UIoU (Sakaridis et al., ICCV 2019), CodaLab competition 23553, as users of DANNet (issue 11)
and SePiCo (README) describe it: an archive with the folders `labelTrainIds`,
`labelTrainIds_invalid` and `confidence`, files found by `{sequence}_frame_{frame:0>6}*.png`.
Servers change; read their page before an upload.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from uda.evaluation.subsets import CITYSCAPES_CLASSES

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' label id of each train id."""

Maps = dict[str, NDArray[np.integer]]


@dataclass(frozen=True)
class BenchmarkFormat:
    """How one server takes predictions.

    Attributes:
        name: Of the benchmark.
        size: (H, W) of its images in pixels.
        pattern: What the stem of an image's name looks like.
        example: Of such a stem.
        maps: From train ids (H, W) and confidence (H, W) in [0, 1] to the maps by folder.
        file_name: From the match of `pattern` to the name of the file.
    """

    name: str
    size: tuple[int, int]
    pattern: str
    example: str
    maps: Callable[[NDArray[np.uint8], NDArray[np.float32]], Maps]
    file_name: Callable[[re.Match[str]], str]

    def file(self, image: str | Path) -> str:
        """The name of the file for an image.

        Raises:
            ValueError: The image is not named as those of the benchmark.
        """
        match = re.fullmatch(self.pattern, Path(image).stem)
        if match is None:
            raise ValueError(
                f"The server of {self.name} finds predictions by the images' names, such as "
                f"{self.example}.png; {image} is named otherwise. Give the benchmark's test "
                "images, or leave the server's format out."
            )
        return self.file_name(match)

    def files(
        self, image: str | Path, label: NDArray[np.uint8], confidence: NDArray[np.float32]
    ) -> Maps:
        """The maps to upload by their paths relative to the archive.

        Args:
            image: The image that was predicted; names the files.
            label: (H, W) train ids.
            confidence: (H, W), in [0, 1].

        Raises:
            ValueError: The image's name or size is not the benchmark's, or there are more classes.
        """
        name = self.file(image)
        if label.shape != self.size:
            raise ValueError(
                f"The server of {self.name} wants maps of {self.size[1]}x{self.size[0]} pixels; "
                f"{image} has {label.shape[1]}x{label.shape[0]}. Predict the original images."
            )
        if label.size and label.max() >= len(LABEL_IDS):
            raise ValueError(
                f"The server of {self.name} knows {len(LABEL_IDS)} classes; {image} was given "
                f"train id {label.max()}."
            )
        maps = self.maps(label, confidence)
        return {f"{folder}/{name}" if folder else name: one for folder, one in maps.items()}


def check_classes(classes: tuple[str, ...] | list[str]) -> None:
    """Refuse a network whose classes are not Cityscapes' 19 in their order.

    Raises:
        ValueError: Says which class differs first.
    """
    if tuple(classes) == CITYSCAPES_CLASSES:
        return
    pairs = zip(classes, CITYSCAPES_CLASSES, strict=False)
    first = next((f"{a!r} in place of {b!r}" for a, b in pairs if a != b), "another number")
    raise ValueError(
        f"Benchmark servers score Cityscapes' {len(CITYSCAPES_CLASSES)} classes in their order; "
        f"this network has {len(classes)} classes ({first}). Leave the server's format out."
    )


def _label_ids(label: NDArray[np.uint8], confidence: NDArray[np.float32]) -> Maps:
    return {"": np.asarray(LABEL_IDS, dtype=np.uint8)[label]}


def _train_ids(label: NDArray[np.uint8], confidence: NDArray[np.float32]) -> Maps:
    return {"labelTrainIds": label}


def _with_confidence(label: NDArray[np.uint8], confidence: NDArray[np.float32]) -> Maps:
    """No pixel is called invalid, so that the uncertainty-aware IoU is the plain one at most."""
    grey = np.rint(np.clip(confidence, 0, 1) * 65535).astype(np.uint16)
    return {"labelTrainIds": label, "labelTrainIds_invalid": label, "confidence": grey}


CITYSCAPES = BenchmarkFormat(
    name="Cityscapes",
    size=(1024, 2048),
    pattern=r"([a-z-]+_\d{6}_\d{6})(?:_leftImg8bit)?",
    example="berlin_000000_000019_leftImg8bit",
    maps=_label_ids,
    file_name=lambda match: f"{match[1]}_labelIds.png",
)
ACDC = BenchmarkFormat(
    name="ACDC",
    size=(1080, 1920),
    pattern=r"(\w+_frame_\d{6})_rgb_anon",
    example="GOPR0475_frame_000041_rgb_anon",
    maps=_train_ids,
    file_name=lambda match: f"{match[0]}.png",
)
DARK_ZURICH = BenchmarkFormat(
    name="Dark Zurich",
    size=(1080, 1920),
    pattern=r"(\w+_frame_\d{6})(?:_rgb_anon)?",
    example="GOPR0364_frame_000001_rgb_anon",
    maps=_with_confidence,
    file_name=lambda match: f"{match[1]}.png",
)
BENCHMARKS: Mapping[str, BenchmarkFormat] = {
    "cityscapes": CITYSCAPES,
    "acdc": ACDC,
    "dark_zurich": DARK_ZURICH,
}
