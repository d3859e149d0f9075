"""One crop for source and target alike, taken of items that are packed already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.structures import PixelData


def crop_alike(items: Mapping[str, Mapping[str, Any]], size: Sequence[int]) -> dict[str, Any]:
    """The same random part of the images of a pair, with all that lies on them.

    Drawn from NumPy's global generator, first the row, then the column, all places alike. HRDA's
    ablation of small training crops takes it of crops at the usual size, since class-mix pastes
    source classes where they belong only if both crops show the same height of a street scene
    (Hoyer et al., ECCV 2022; released code: `sync_crop_size`).

    Args:
        items: What `PackSegInputs` packs, by domain; all images of one size.
        size: (height, width) of the part in pixels.

    Returns:
        New items; the old ones stay as they are.

    Raises:
        ValueError: The images differ in size, or are smaller than the part.
    """
    height, width = int(size[0]), int(size[1])
    shapes = {name: tuple(item["inputs"].shape[1:]) for name, item in items.items()}
    first = next(iter(shapes.values()))
    if any(shape != first for shape in shapes.values()):
        raise ValueError(
            "SourceTargetPairs: shared_crop needs source and target images of one size, got "
            f"{shapes} (height, width): give both pipelines a RandomCrop of the same crop_size."
        )
    if height > first[0] or width > first[1]:
        raise ValueError(
            f"SourceTargetPairs: shared_crop={(height, width)} is larger than the images, which "
            f"are {first} (height, width) after their pipelines."
        )
    top = int(np.random.randint(first[0] - height + 1))
    left = int(np.random.randint(first[1] - width + 1))
    return {name: _cut(item, top, left, height, width) for name, item in items.items()}


def _cut(item: Mapping[str, Any], top: int, left: int, height: int, width: int) -> dict[str, Any]:
    rows, columns = slice(top, top + height), slice(left, left + width)
    sample = item["data_samples"].clone()
    for key, value in list(sample.items()):
        if isinstance(value, PixelData):
            sample.set_data({key: PixelData(data=value.data[:, rows, columns].clone())})
    sample.set_metainfo({"img_shape": (height, width)})
    return {"inputs": item["inputs"][:, rows, columns].clone(), "data_samples": sample}
