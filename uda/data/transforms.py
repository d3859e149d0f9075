"""Reading images and labels in an mmseg pipeline, with errors that name the file."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray

from uda.data.images import orientation, read_bytes, read_image
from uda.data.labels import label_items, read_label, train_ids


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """The image of ``img_path`` as ``img`` (H, W, 3) uint8 BGR, EXIF orientation ignored.

    Sets ``img_shape`` and ``ori_shape`` to (H, W) in pixels.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the image; see `read_image` for the errors."""
        image = read_image(results["img_path"])
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        """Name as in a config."""
        return "LoadImage()"


@TRANSFORMS.register_module()
class LoadLabel(BaseTransform):
    """The label of ``seg_map_path`` as ``gt_seg_map`` (H, W) uint8 train ids, 255 = ignore.

    Palette PNGs are read as indices. The data set's ``label_map`` {raw id: train id} is applied by
    table; without one, ids 0..K-1 and 255 are taken as they are. 255 stays 255 unless the map names
    it. Any other id is an error, or 255 with ``unmapped="ignore"`` of the data set.

    Args:
        num_classes: K, for data sets that do not say it themselves (`FolderDataset` does).
    """

    def __init__(self, *, num_classes: int | None = None) -> None:
        self.num_classes = num_classes

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the label and check it against the image and the classes.

        Raises:
            FileNotFoundError: The label file is missing.
            ValueError: The data set has no labels, the label cannot be read, differs in size from
                its image, or holds an id that is not named.
        """
        path = results.get("seg_map_path")
        if path is None:
            raise ValueError(
                f"LoadLabel: image {results.get('img_path')} belongs to a data set without labels "
                "(label_dir=None); remove LoadLabel from its pipeline or give label_dir"
            )
        raw = read_label(path)
        shape = results.get("ori_shape")
        if shape is not None and tuple(raw.shape) != tuple(shape):
            raise ValueError(
                f"image and label differ in size (height, width): {results['img_path']} is "
                f"{tuple(shape)}, {path} is {tuple(raw.shape)}; they must show the same pixels"
                + _orientation_hint(results["img_path"])
            )
        results["gt_seg_map"] = self._train_ids(raw, results)
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results

    def _train_ids(self, raw: NDArray[np.integer], results: dict[str, Any]) -> NDArray[np.uint8]:
        path, label_map = results["seg_map_path"], results.get("label_map")
        num_classes = results.get("num_classes", self.num_classes)
        if num_classes is None:
            raise ValueError(
                "LoadLabel: the data set does not tell the number of classes; "
                "write dict(type='LoadLabel', num_classes=K)"
            )
        return train_ids(
            raw,
            path=path,
            items=label_items(label_map),
            num_classes=num_classes,
            unmapped=results.get("unmapped", "error"),
        )

    def __repr__(self) -> str:
        """Name and setting as in a config."""
        return f"LoadLabel(num_classes={self.num_classes})"


def _orientation_hint(path: str) -> str:
    if orientation(read_bytes(path, "image file")) == 1:
        return ""
    return (
        ". The image notes an EXIF orientation, which is not applied: turn its pixels, or draw the "
        "label on them as they are stored"
    )
