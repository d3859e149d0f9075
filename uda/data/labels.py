"""Reading one label file, and its train ids by the data set's table."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from uda.data.class_tables import IGNORE_INDEX
from uda.data.images import ORIENTATION, check_png, read_bytes
from uda.data.look_up import look_up_table

LabelItems = tuple[tuple[int, int], ...]
Reason = Literal["damaged", "form", "jpeg", "turned", "ids"]

UNMAPPED_CHOICES = ("error", "ignore")
_LOSSY = ("JPEG", "MPO", "JPEG2000", "TIFF of JPEG compression")
_FULL_RANGES = (255, 65535)


class LabelFileError(ValueError):
    """A label file that cannot be trained on.

    Args:
        message: One sentence with the path.
        reason: ``"damaged"``: cut off or no image; ``"form"``: not one channel of integers,
            or stretched by readers; ``"jpeg"``: compressed with loss; ``"turned"``: a TIFF with an
            orientation; ``"ids"``: ids that the data set does not name.
        ids: Those ids.
    """

    # One argument is enough: torch makes an error of a worker process again from its text alone.
    def __init__(self, message: str, reason: Reason = "damaged", ids: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.ids = ids


def read_label(path: str | Path) -> NDArray[np.integer]:
    """Raw ids (H, W) of a single-channel label file; of a palette image the indices.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The file cannot be read.
        ValueError: The file is damaged, no image, has several channels or none of integers, or is
            of a format or a range of grey that changes ids (`LabelFileError`).
    """
    return decode_label(read_bytes(path, "label file"), path)


def decode_label(content: bytes, path: str | Path) -> NDArray[np.integer]:
    """Raw ids (H, W) of a label file's content, as `read_label` gives them.

    Args:
        content: Every byte of the file.
        path: For the error message.

    Raises:
        LabelFileError: The content is no label; the message says why and what to do.
    """
    path = Path(path).absolute()
    if not content:
        raise LabelFileError(
            f"cannot read label file {path}: it is empty (0 bytes); fetch or convert it again"
        )
    try:
        with Image.open(io.BytesIO(content)) as image:
            # Before loading: PIL turns a TIFF and forgets the tag.
            turned = image.format == "TIFF" and image.getexif().get(ORIENTATION, 1) in range(2, 9)
            stretched, kind = _stretched(image), _format(image)
            image.load()
            array = np.asarray(image)
        check_png(content)
    except Exception as error:  # damaged bytes lead decoders into errors of many kinds
        raise LabelFileError(
            f"cannot read label file {path}: {told_by_pillow(error)}; fetch or convert it again"
        ) from error
    if array.ndim != 2:
        raise LabelFileError(
            f"label file {path} has shape {array.shape}; wanted one channel of class ids (H, W). "
            "Colour-coded labels are converted first by tools/prepare_data.py",
            "form",
        )
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise LabelFileError(
            f"label file {path} holds {array.dtype} numbers; wanted class ids, which are whole "
            "numbers: save it as a PNG of one channel",
            "form",
        )
    if stretched:
        raise LabelFileError(
            f"label file {path} holds grey of another range than 8 or 16 bits, which readers "
            "stretch and so change ids; save it as a PNG of 8 bits",
            "form",
        )
    if kind in _LOSSY:
        raise LabelFileError(
            f"label file {path} is a {kind}, whose compression changes ids; make the labels again "
            "as PNG from what they came from",
            "jpeg",
        )
    if turned:
        raise LabelFileError(
            f"label file {path} is a TIFF with an orientation, which readers turn but images are "
            "not; turn its pixels and save it without one, or as PNG",
            "turned",
        )
    return array


def told_by_pillow(error: Exception) -> str:
    """What an error of Pillow says, without the address of a buffer in place of a name."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error) or type(error).__name__


def _format(image: Image.Image) -> str | None:
    if image.format == "TIFF" and "jpeg" in str(image.info.get("compression")):
        return "TIFF of JPEG compression"
    return image.format


def _stretched(image: Image.Image) -> bool:
    """Whether Pillow will multiply the numbers of a file so that they fill 8 or 16 bits.

    It does so with grey of 2 and 4 bits, of which 1 becomes 85 and 17, and with PGM files of
    another maximum.
    """
    for codec, _, _, arguments in getattr(image, "tile", ()):
        told = arguments if isinstance(arguments, tuple) and arguments else (arguments,)
        if str(told[0]).startswith(("L;2", "L;4")):
            return True
        if codec.startswith("ppm") and image.mode != "1" and told[1] not in _FULL_RANGES:
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


def label_items(label_map: Mapping[int, int] | None) -> LabelItems | None:
    """A label map as `train_ids` takes it."""
    return None if label_map is None else tuple(label_map.items())


def train_ids(
    raw: NDArray[np.integer],
    *,
    path: str | Path,
    items: LabelItems | None,
    num_classes: int,
    unmapped: str = "error",
) -> NDArray[np.uint8]:
    """Train ids (H, W) uint8 of raw ids, 255 = ignore.

    Args:
        raw: From `read_label`.
        path: For the error message.
        items: See `label_table`.
        num_classes: K.
        unmapped: See `label_table`.

    Raises:
        LabelFileError: There is an id that is not named.

    Example:
        >>> raw = np.array([[7, 26, 4]], dtype=np.uint8)
        >>> train_ids(raw, path="a.png", items=((7, 0), (26, 1), (4, 255)), num_classes=2).tolist()
        [[0, 1, 255]]
    """
    if raw.dtype == np.uint8 and raw.size:  # cv2 makes nothing of nothing
        table, forbidden = label_table(items, num_classes, unmapped, 256)
        unknown = cv2.countNonZero(cv2.LUT(raw, forbidden)) > 0
        label = cv2.LUT(raw, table)
    else:
        low, high = (int(raw.min()), int(raw.max())) if raw.size else (0, 0)
        if not 0 <= low <= high <= 65535:
            raise LabelFileError(
                f"label file {path}: ids {low}..{high} exceed 0..65535", "ids", (low, high)
            )
        table, forbidden = label_table(items, num_classes, unmapped, 65536)
        unknown = bool(forbidden[raw].any())
        label = table[raw]
    if unknown:
        raise _unknown_ids(raw, forbidden, path, items, num_classes)
    return np.asarray(label, dtype=np.uint8)


def _unknown_ids(
    raw: NDArray[np.integer],
    forbidden: NDArray[np.uint8],
    path: str | Path,
    items: LabelItems | None,
    num_classes: int,
) -> LabelFileError:
    ids, pixels = np.unique(raw, return_counts=True)
    found = [(int(i), int(n)) for i, n in zip(ids, pixels, strict=True) if forbidden[i]]
    shown = ", ".join(f"{i} ({n} pixels)" for i, n in found[:5]) + ", ..." * (len(found) > 5)
    if items is None:
        told = (
            f"wanted train ids 0..{num_classes - 1} or 255 (ignore); give the data set a "
            "label_map={raw id: train id}, all its classes, or unmapped='ignore'"
        )
    else:
        told = (
            f"which label_map does not name (it names {sorted(raw_id for raw_id, _ in items)}); "
            "add it (255 = ignore) or set unmapped='ignore'"
        )
    numbers = tuple(i for i, _ in found)
    return LabelFileError(f"label file {path} holds id {shown}, {told}", "ids", numbers)
