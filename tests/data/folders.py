"""Small image and label folders for the data tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ["road", "sky", "pole"]


def write_image(path: Path, image: NDArray[np.uint8]) -> Path:
    """Write an image (BGR or one channel) and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def write_palette(path: Path, indices: NDArray[np.uint8]) -> Path:
    """Write a palette PNG whose colours are nothing like its indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices, mode="P")
    image.putpalette([(7 * value + 90) % 256 for value in range(768)])
    image.save(path)
    return path


def write_domain(
    root: Path, count: int, *, labels: bool = True, size: tuple[int, int] = (24, 32)
) -> Path:
    """Write ``images/NNN.png`` and ``labels/NNN.png``; every third has a square of class 2."""
    generator = np.random.default_rng(count)
    for index in range(count):
        image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        write_image(root / "images" / f"{index:03}.png", image)
        if labels:
            label = np.zeros(size, np.uint8)
            label[: size[0] // 2] = 1
            label[0] = 255
            if index % 3 == 0:
                label[-8:, -8:] = 2
            write_image(root / "labels" / f"{index:03}.png", label)
    return root


def folder_config(root: Path, *, labelled: bool = True, **changes: Any) -> dict[str, Any]:
    """Config of a `FolderDataset` on `write_domain`, random crop 16x16 and flip."""
    load = [{"type": "LoadImage"}] + ([{"type": "LoadLabel"}] if labelled else [])
    augmentation = [
        {"type": "RandomResize", "scale": (32, 24), "ratio_range": (0.8, 1.5), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": (16, 16), "cat_max_ratio": 0.75 if labelled else 1.0},
        {"type": "RandomFlip", "prob": 0.5},
        {
            "type": "Albumentations",
            "transforms": [{"type": "RandomGamma", "p": 0.5}, {"type": "GaussNoise", "p": 0.5}],
        },
        {"type": "PackSegInputs"},
    ]
    config = {
        "type": "FolderDataset",
        "data_root": str(root),
        "image_dir": "images",
        "label_dir": "labels" if labelled else None,
        "classes": CLASSES,
        "pipeline": load + augmentation,
    }
    return {**config, **changes}
