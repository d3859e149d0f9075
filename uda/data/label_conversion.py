"""One label file converted to train ids and counted: the work of one step of `prepare`."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from uda.data.conventions import LabelConvention, to_train_ids
from uda.data.images import file_error
from uda.data.labels import read_label, told_by_pillow
from uda.data.layouts import LabelFile
from uda.data.statistics import count_label
from uda.files import write_atomically

# A PNG text entry that says by which table a file was made: a changed table makes it stale.
MARK = "uda label convention"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

Status = Literal["converted", "kept", "counted", "no image", "size differs"]


@dataclass(frozen=True)
class Conversion:
    """How the conversion of files is done; sent to every worker.

    Attributes:
        root: Folder of the data set.
        out: Folder that converted files go below; `root` itself unless that is read-only.
        convention: Raw labels to train ids; None: the files hold train ids.
        num_classes: K.
        unknown: ``"ignore"`` sends undefined ids and colours to 255 instead of stopping.
        force: Convert again what is there already.
    """

    root: Path
    out: Path
    convention: LabelConvention | None
    num_classes: int
    unknown: Literal["error", "ignore"] = "error"
    force: bool = False


@dataclass(frozen=True)
class ConvertedLabel:
    """What became of one label file.

    Attributes:
        file: The label file.
        status: ``"converted"`` now; ``"kept"`` from before; ``"counted"`` as it holds train ids;
            ``"no image"`` belongs to it, or its ``"size differs"`` from the image: left out.
        counts: int64 (K,) pixels of each class; None when left out.
        detail: What differs, in words; empty when nothing does.
        differing: Share of pixels, 0..1, in which a file made by another tool differs from ours.
    """

    file: LabelFile
    status: Status
    counts: NDArray[np.int64] | None = None
    detail: str = ""
    differing: float = 0.0


def convert_label(file: LabelFile, *, how: Conversion) -> ConvertedLabel:
    """Train ids of one label file written beside it (or below `out`), and their pixel counts.

    A converted file that is complete, newer than its original and made by the same table is kept. A
    file of the same name from another tool is kept as well, compared with our own conversion.

    Raises:
        FileNotFoundError: The label file vanished.
        ValueError: It is damaged, or holds values outside the convention; the message names it.
    """
    source, image = how.root / file.label, how.root / file.image
    if not image.is_file():
        return ConvertedLabel(file, "no image")
    problem = _size_problem(source, image)
    if problem:
        return ConvertedLabel(file, "size differs", detail=problem)
    if how.convention is None or file.converted == file.label:
        counts = _count(source, read_label(source), how.num_classes)
        return ConvertedLabel(file, "counted", counts)
    target = how.out / file.converted
    existing = None if how.force else _existing(target, source)
    if existing is not None and existing[1] == mark_of(how):
        return ConvertedLabel(file, "kept", _count(target, existing[0], how.num_classes))
    train_ids = to_train_ids(source, how.convention, unknown=how.unknown)
    if existing is not None and not existing[1] and existing[0].shape == train_ids.shape:
        differing = float((existing[0] != train_ids).mean())
        counts = _count(target, existing[0], how.num_classes)
        return ConvertedLabel(file, "kept", counts, differing=differing)
    write_atomically(target, encode_label(train_ids, mark_of(how)))
    return ConvertedLabel(file, "converted", _count(source, train_ids, how.num_classes))


def encode_label(train_ids: NDArray[np.uint8], mark: str) -> bytes:
    """PNG bytes, 8-bit grey, lossless, with the mark of the table in a text entry."""
    text = PngImagePlugin.PngInfo()
    text.add_text(MARK, mark)
    buffer = io.BytesIO()
    Image.fromarray(train_ids).save(buffer, format="PNG", pnginfo=text)
    return buffer.getvalue()


def mark_of(how: Conversion) -> str:
    """Short digest of everything that decides the converted pixels."""
    convention = how.convention
    if convention is None:
        return ""
    tables = (sorted(convention.ids.items()), sorted(convention.colours.items()))
    text = repr((convention.kind, tables, how.unknown))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _existing(target: Path, source: Path) -> tuple[NDArray[np.integer], str] | None:
    """Pixels and mark of an earlier conversion; None when absent, outdated or damaged."""
    if not target.is_file() or target.stat().st_mtime_ns < source.stat().st_mtime_ns:
        return None
    with target.open("rb") as file:
        # PIL accepts a PNG without its last chunk, other readers do not.
        file.seek(max(target.stat().st_size - len(PNG_END), 0))
        if file.read() != PNG_END:
            return None
    try:
        array = read_label(target)
        with Image.open(target) as image:
            mark = str(image.info.get(MARK, ""))
    except ValueError:
        return None
    return array, mark


def _count(path: Path, train_ids: NDArray[np.integer], num_classes: int) -> NDArray[np.int64]:
    try:
        return count_label(train_ids, num_classes)
    except ValueError as error:
        raise ValueError(f"label file {path}: {error}") from error


def _size_problem(label: Path, image: Path) -> str:
    """Sentence about differing sizes, empty when equal; reads the file headers only."""
    sizes = []
    for path, what in ((label, "label file"), (image, "image file")):
        try:
            with Image.open(path) as opened:
                sizes.append(opened.size)
        except (FileNotFoundError, PermissionError) as error:
            raise file_error(error, path, what) from None
        except Exception as error:  # damaged bytes lead decoders into errors of many kinds
            raise ValueError(
                f"cannot read {what} {path}: {told_by_pillow(error)}; fetch it again"
            ) from error
    if sizes[0] == sizes[1]:
        return ""
    (label_width, label_height), (width, height) = sizes
    return f"label {label} is {label_width}x{label_height}, image {image} is {width}x{height}"
