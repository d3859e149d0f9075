"""Reading images and labels in an mmseg pipeline, with errors that name the file."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray
from PIL import Image

from uda.data.look_up import look_up_table
from uda.data.statistics import read_label
from uda.structures import IGNORE_INDEX

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
UNMAPPED_CHOICES = ("error", "ignore")

LabelItems = tuple[tuple[int, int], ...]


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """BGR image (H, W, 3) uint8 as stored: the EXIF orientation is not applied.

    Labels carry no orientation, so turning the image would part it from its label. OpenCV fills the
    missing rest of a cut-off file with grey and reports nothing; such files are refused here.

    Args:
        path: Image file of any format OpenCV reads.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The file is empty, cut off or no image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image file not found: {path.absolute()}")
    content = path.read_bytes()
    image = None
    if content and not _is_cut_off(content):
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        state = "empty" if not content else "cut off or not an image"
        raise OSError(
            f"cannot read image file {path.absolute()}: it is {state} ({len(content)} bytes); "
            "fetch or convert it again, or remove it"
        )
    return np.asarray(image, dtype=np.uint8)


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; trailing bytes after a whole image are allowed."""
    jpeg = content.startswith(_JPEG_START) and not content.endswith(_JPEG_END)
    png = content.startswith(_PNG_START) and not content.endswith(_PNG_END)
    if not (jpeg or png):
        return False
    # Rare and slow: some cameras append data, so the decoder that reports missing data decides.
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError):
        return True
    return False


@lru_cache(maxsize=32)
def label_table(
    items: LabelItems | None, num_classes: int, unmapped: str, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Look-up tables raw id -> train id and raw id -> 1 where the id is not allowed.

    Args:
        items: (raw id, train id) pairs; None keeps 0..K-1. 255 stays 255 unless named.
        num_classes: K.
        unmapped: ``"ignore"`` turns ids that are not named into 255, ``"error"`` forbids them.
        size: Number of raw ids covered, 256 or 65536.

    Returns:
        Two uint8 arrays (size,).
    """
    if items is None:
        items = tuple((index, index) for index in range(num_classes))
    table, known = look_up_table({IGNORE_INDEX: IGNORE_INDEX, **dict(items)}, size)
    forbidden = ~known if unmapped == "error" else np.zeros_like(known)
    return table, forbidden.astype(np.uint8)  # cv2 has no bool


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
        items = None if label_map is None else tuple(label_map.items())
        unmapped = results.get("unmapped", "error")
        if raw.dtype == np.uint8:
            table, forbidden = label_table(items, num_classes, unmapped, 256)
            unknown = cv2.countNonZero(cv2.LUT(raw, forbidden)) > 0
            label = cv2.LUT(raw, table)
        else:
            if raw.size and not 0 <= raw.min() <= raw.max() <= 65535:
                raise ValueError(f"label file {path}: ids {raw.min()}..{raw.max()} exceed 0..65535")
            table, forbidden = label_table(items, num_classes, unmapped, 65536)
            unknown = bool(forbidden[raw].any())
            label = table[raw]
        if unknown:
            raise ValueError(_unknown_id_message(path, raw, forbidden, items, num_classes))
        return np.asarray(label, dtype=np.uint8)

    def __repr__(self) -> str:
        """Name and setting as in a config."""
        return f"LoadLabel(num_classes={self.num_classes})"


def _unknown_id_message(
    path: str,
    raw: NDArray[np.integer],
    forbidden: NDArray[np.uint8],
    items: LabelItems | None,
    num_classes: int,
) -> str:
    ids, pixels = np.unique(raw, return_counts=True)
    found = [f"{i} ({n} pixels)" for i, n in zip(ids, pixels, strict=True) if forbidden[i]]
    shown = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    if items is None:
        return (
            f"label file {path} holds id {shown}, wanted train ids 0..{num_classes - 1} or 255 "
            "(ignore); give the data set a label_map={raw id: train id}, all its classes, or "
            "unmapped='ignore'"
        )
    return (
        f"label file {path} holds id {shown}, which label_map does not name (it names "
        f"{sorted(raw_id for raw_id, _ in items)}); add it (255 = ignore) or set unmapped='ignore'"
    )
