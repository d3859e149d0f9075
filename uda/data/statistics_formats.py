"""File formats of class statistics: ours and three of the older tools, checked on reading."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uda.data.class_tables import IGNORE_INDEX

FORMAT_VERSION = 1
# A sum over the images must fit int64: 2^40 pixels an image leave room for 8 million images.
MOST_PIXELS = 2**40

Entry = tuple[str, int, int]  # file, class id, pixels


def read_statistics(
    path: Path, num_classes: int, *, drop_unknown: bool
) -> tuple[list[str], NDArray[np.int64]]:
    """Files and counts (images, K) of a statistics file in any known format.

    Args:
        path: The file, plain JSON or gzip.
        num_classes: K.
        drop_unknown: Older formats only: leave out ids outside 0..K-1 instead of refusing them.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The content is damaged, of an unknown format or of another number of classes.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"class statistics not found: {path.absolute()}; write them with tools/prepare_data.py"
        )
    try:
        content = _parse(path)
        if isinstance(content, dict) and "version" in content:
            files, counts = _own_format(content, num_classes)
        else:
            files, counts = _older_format(content, num_classes, drop_unknown)
    except (ValueError, RecursionError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(
            f"class statistics {path.absolute()}: {reason}; remove the file and count again with "
            "tools/prepare_data.py"
        ) from error
    return files, counts


def is_own_format(path: Path) -> bool:
    """Whether a file is a ``class_statistics.json`` of this version, whatever classes it has."""
    try:
        content = _parse(path)
    except (OSError, ValueError, RecursionError, EOFError, zlib.error):
        return False
    return isinstance(content, dict) and content.get("version") == FORMAT_VERSION


def _parse(path: Path) -> Any:
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    try:
        return json.loads(raw)
    except UnicodeDecodeError as error:
        raise ValueError("not a text file") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not complete JSON ({error})") from error


def _own_format(content: dict[str, Any], num_classes: int) -> tuple[list[str], NDArray[np.int64]]:
    version, stored, images = (content.get(key) for key in ("version", "num_classes", "images"))
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise ValueError(f"version {_short(version)} is not known here (known: {FORMAT_VERSION})")
    if stored != num_classes or isinstance(stored, bool):
        raise ValueError(f"made for {_short(stored)} classes, wanted {num_classes}")
    if not isinstance(images, list):
        raise ValueError(f"'images' must be a list, got {_short(images)}")
    files: dict[str, int] = {}
    counts = np.zeros((len(images), num_classes), dtype=np.int64)
    for row, image in enumerate(images):
        if not (isinstance(image, list) and len(image) == 2 and isinstance(image[1], list)):
            raise ValueError(f"image {row} must be [file, [pixels, ...]], got {_short(image)}")
        file, pixels = _file(image[0]), [_pixels(value) for value in image[1]]
        if len(pixels) != num_classes:
            raise ValueError(f"{len(pixels)} counts for {file!r}, wanted {num_classes}")
        if file in files:
            raise ValueError(f"file {file!r} is listed more than once")
        files[file] = row
        counts[row] = pixels
    return list(files), counts


def _older_format(
    content: Any, num_classes: int, drop_unknown: bool
) -> tuple[list[str], NDArray[np.int64]]:
    names, entries = _older_entries(content)
    rows = {file: row for row, file in enumerate(names)}
    counts = np.zeros((len(names), num_classes), dtype=np.int64)
    seen: set[tuple[int, int]] = set()
    for file, class_id, pixels in entries:
        if not 0 <= class_id < num_classes:
            if class_id == IGNORE_INDEX or drop_unknown:
                continue
            raise ValueError(
                f"class {class_id} of {file!r} is outside 0..{num_classes - 1} and not 255; "
                "load with drop_unknown=True to leave such classes out"
            )
        cell = (rows[file], class_id)
        if cell in seen:
            raise ValueError(f"class {class_id} of {file!r} is listed more than once")
        seen.add(cell)
        counts[cell] = pixels
    names = _without_common_folder(names)
    _refuse_repeated(names)  # again, as "a//b" and "a/b" have become equal
    return names, counts


def _refuse_repeated(names: list[str]) -> None:
    if len(set(names)) != len(names):
        repeated = next(file for file in names if names.count(file) > 1)
        raise ValueError(f"file {repeated!r} is listed more than once")


def _older_entries(content: Any) -> tuple[list[str], list[Entry]]:
    """Files in their order, and the counts of each."""
    if isinstance(content, list) and content:
        pairs = [_list_item(item) for item in content]
    elif isinstance(content, dict) and content:
        values = list(content.values())
        if all(isinstance(value, dict) for value in values):
            pairs = [(_file(file), value) for file, value in content.items()]
        elif all(isinstance(value, list) for value in values):
            entries = list(_by_class(content))
            if not entries:
                raise ValueError("no statistics inside, got empty lists")
            return list(dict.fromkeys(entry[0] for entry in entries)), entries
        else:
            raise ValueError("of no known format")
    else:
        raise ValueError(f"no statistics inside, got {_short(content)}")
    names = [file for file, _ in pairs]
    _refuse_repeated(names)
    entries = [
        (file, _class_id(key), _pixels(value))
        for file, counts in pairs
        for key, value in counts.items()
        if key != "file"
    ]
    return names, entries


def _list_item(item: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(item, dict) or "file" not in item:
        raise ValueError(f"wanted {{class: pixels, ..., 'file': path}}, got {_short(item)}")
    return _file(item["file"]), item


def _by_class(content: dict[str, Any]) -> Iterator[Entry]:
    for key, samples in content.items():
        class_id = _class_id(key)
        for sample in samples:
            if not (isinstance(sample, list) and len(sample) == 2):
                raise ValueError(f"class {key}: wanted [file, pixels], got {_short(sample)}")
            yield _file(sample[0]), class_id, _pixels(sample[1])


def _without_common_folder(names: list[str]) -> list[str]:
    """Paths below the folder that all share: older files hold paths of another machine."""
    parents = [PurePosixPath(name).parent.parts for name in names]
    depth = 0
    for parts in zip(*parents, strict=False):
        if len(set(parts)) != 1:
            break
        depth += 1
    return [str(PurePosixPath(*PurePosixPath(name).parts[depth:])) for name in names]


def _file(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return str(value)
    if not isinstance(value, str) or not PurePosixPath(value).name or "\x00" in value:
        raise ValueError(f"a label file path was wanted, got {_short(value)}")
    return value


def _class_id(key: Any) -> int:
    # The length limit keeps int() away from Python's own limit on digits.
    if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 9:
        return int(key)
    raise ValueError(f"a class id was wanted, got {_short(key)}")


def _pixels(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_PIXELS:
        return value
    raise ValueError(f"a pixel count (0..2^40) was wanted, got {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."
