"""What is checked of one file: whether training can read it, and what it makes of it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from uda.data.images import ImageFileError, decode_image, orientation, read_bytes
from uda.data.labels import LabelFileError, decode_label

_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes")
# Some cameras leave a few bytes over before a marker; more are picture data that were not decoded.
_FEW_BYTES = 16
_GREY = ("1", "L", "LA", "La")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclass(frozen=True)
class Observation:
    """Something about one file.

    Attributes:
        kind: A key of `uda.data.check.kinds.FILE_KINDS`.
        file: Full path.
        ids: Label ids it is about.
        told: What happened, where the kind does not say it.
    """

    kind: str
    file: str
    ids: tuple[int, ...] = ()
    told: str = ""


def check_image(path: str) -> tuple[tuple[int, int] | None, list[Observation]]:
    """Height and width of an image file as training reads it, and what there is to say about it.

    The image is read whole, by the function that training uses.

    Args:
        path: Full path.

    Returns:
        None in place of the size when training could not read the file.
    """
    try:
        content = read_bytes(path, "image file")
    except OSError as error:
        return None, [_not_opened(error, path)]
    with decoder_messages() as messages:
        try:
            shape = decode_image(content, path).shape
        except ImageFileError as error:
            return None, [Observation(f"image {error.reason}", path)]
        kinds = image_kinds(content)
    if any(_is_damage(line) for line in messages):
        kinds.append("image patchy")
    return (shape[0], shape[1]), [Observation(kind, path) for kind in kinds]


def check_label(path: str) -> tuple[NDArray[np.integer] | None, list[Observation]]:
    """Raw ids (H, W) of a label file, and what there is to say about the file.

    Args:
        path: Full path.

    Returns:
        None in place of the ids when training could not read the file.
    """
    try:
        content = read_bytes(path, "label file")
    except OSError as error:
        return None, [_not_opened(error, path)]
    with decoder_messages():
        try:
            return decode_label(content, path), []
        except LabelFileError as error:
            return None, [Observation(f"label {error.reason}", path)]


def image_kinds(content: bytes) -> list[str]:
    """The kinds of `FILE_KINDS` that a readable image belongs to by its header.

    Args:
        content: Every byte of the file.
    """
    kinds = []
    if orientation(content) != 1:
        kinds.append("image orientation")
    try:
        with Image.open(io.BytesIO(content)) as image:
            mode, transparent = image.mode, "transparency" in image.info
    except Exception:
        return kinds  # a format that OpenCV reads and Pillow does not
    if mode in _GREY:
        kinds.append("image grey")
    if mode in _ALPHA or transparent:
        kinds.append("image alpha")
    if mode == "CMYK":
        kinds.append("image cmyk")
    return kinds


@contextlib.contextmanager
def decoder_messages() -> Iterator[list[str]]:
    """Lines that C libraries write to standard error in the block, filled in at its end.

    libjpeg goes on over damage inside a file and tells it there alone. It has no Python interface,
    so the stream itself is turned aside; messages would break the progress bar besides.
    """
    lines: list[str] = []
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError):  # no standard error at all
        yield lines
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _is_damage(line: str) -> bool:
    if not line.startswith("Corrupt JPEG data"):
        return False
    extraneous = _EXTRANEOUS.search(line)
    return extraneous is None or int(extraneous.group(1)) > _FEW_BYTES


def _not_opened(error: OSError, path: str) -> Observation:
    if isinstance(error, FileNotFoundError):
        return Observation("vanished", path)
    kind = "closed file" if isinstance(error, PermissionError) else "unreadable"
    return Observation(kind, path)
