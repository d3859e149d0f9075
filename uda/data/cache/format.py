"""One cached image and its label in a file that is mapped into memory, not read.

A file is: 8 bytes of name, the length of the header and its SHA-256, the header (JSON), then for
each array its row sums and its rows, everything at multiples of 64 bytes.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from uda.files import write_atomically

VERSION = 1
SUFFIX = ".cached"
_NAME = b"UDACACHE"
_START = struct.Struct("<8sQ32s")
_ALIGN = 64


class CacheFileError(ValueError):
    """A cached file that is not whole; the message says why, without its name."""


@dataclass(frozen=True)
class Source:
    """A file that a cached one was made of.

    Attributes:
        path: Name, relative to the folder of images or labels.
        size: Bytes.
        modified: Time of the last change in nanoseconds.
        digest: SHA-256 of its content.
    """

    path: str
    size: int
    modified: int
    digest: str


class CachedFile:
    """An open cached file; its arrays are views of the file, which nothing can write to.

    Attributes:
        key: Of the settings that it was made by.
        sources: Files that it was made of.
        values: What else the steps left: sizes and factors.
        arrays: By name, (H, W) or (H, W, C) uint8. Not checked; see `intact`.
    """

    def __init__(self, memory: mmap.mmap, header: Mapping[str, Any], start: int) -> None:
        self.key: str = header["key"]
        self.sources = tuple(Source(*entry) for entry in header["sources"])
        self.values: dict[str, Any] = {n: _decoded(v) for n, v in header["values"].items()}
        self.arrays: dict[str, NDArray[np.uint8]] = {}
        self._rows: dict[str, NDArray[np.uint64]] = {}
        self._sums: dict[str, NDArray[np.uint64]] = {}
        self._memory, self._start, self._digest = memory, start, header["digest"]
        for entry in header["arrays"]:
            self._place(entry["name"], entry["shape"], start + entry["offset"])

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a file and check its header and length.

        Raises:
            FileNotFoundError: There is none.
            CacheFileError: It is cut off, of another version, or its header is damaged.
            OSError: It cannot be read.
        """
        with Path(path).open("rb") as file:
            try:
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise CacheFileError("it is empty") from None
        if len(memory) < _START.size:
            raise CacheFileError("it is cut off")
        name, length, digest = _START.unpack(memory[: _START.size])
        content = memory[_START.size : _START.size + length] if length < len(memory) else b""
        if name != _NAME or hashlib.sha256(content).digest() != digest:
            raise CacheFileError("its header is damaged")
        header = json.loads(content)
        if header["version"] != VERSION:
            raise CacheFileError(f"it is of version {header['version']}, not {VERSION}")
        start = _aligned(_START.size + length)
        if len(memory) != start + header["length"]:
            wanted = start + header["length"]
            raise CacheFileError(f"it has {len(memory):,} bytes, not {wanted:,}")
        return cls(memory, header, start)

    def intact(self, name: str, top: int = 0, bottom: int | None = None) -> bool:
        """Whether some rows of an array are what was written, by a sum over each of them.

        It reads what a crop of these rows reads as well, and takes a fraction of the time.

        Args:
            name: Of the array.
            top: The first row.
            bottom: The row behind the last one; None: all.
        """
        rows = self._rows[name][top:bottom].sum(axis=1, dtype=np.uint64)
        return bool(np.array_equal(rows, self._sums[name][top:bottom]))

    def whole(self) -> bool:
        """Whether everything behind the header is what was written, by its SHA-256."""
        with memoryview(self._memory) as content:
            return hashlib.sha256(content[self._start :]).hexdigest() == self._digest

    def _place(self, name: str, shape: list[int], offset: int) -> None:
        height, stride = shape[0], _stride(shape)
        sums = np.frombuffer(self._memory, np.uint64, height, offset)
        first = offset + _aligned(8 * height)
        flat = np.frombuffer(self._memory, np.uint8, height * stride, first)
        rows = flat.reshape(height, stride)
        width = int(np.prod(shape[1:]))
        self.arrays[name] = rows[:, :width].reshape(shape)
        self._sums[name], self._rows[name] = sums, rows.view(np.uint64)

    def __deepcopy__(self, memo: Any) -> Self:
        """Itself: nothing in it can be changed."""
        return self


def write_cached(
    path: str | Path,
    arrays: Mapping[str, NDArray[np.uint8]],
    *,
    key: str,
    sources: tuple[Source, ...],
    values: Mapping[str, Any],
) -> int:
    """Write a file, whole or not at all; the result is its size in bytes.

    Args:
        path: Where to.
        arrays: (H, W) or (H, W, C) uint8 by name.
        key: Of the settings.
        sources: Files that the arrays were made of.
        values: Numbers, text, and tuples or lists of them, by name.

    Raises:
        TypeError: A value or an array of another kind.
        OSError: See `write_atomically`; a full disk is told with the bytes that are wanted.
    """
    entries, parts, offset = [], [], 0
    for name, array in arrays.items():
        if array.dtype != np.uint8 or array.ndim not in (2, 3):
            raise TypeError(f"cannot cache {name}: {array.dtype} of {array.ndim} dimensions")
        entries.append({"name": name, "shape": list(array.shape), "offset": offset})
        parts.append(_with_sums(array))
        offset += len(parts[-1])
    content = b"".join(parts)
    header = {
        "version": VERSION,
        "key": key,
        "sources": [[s.path, s.size, s.modified, s.digest] for s in sources],
        "values": {name: _encoded(value) for name, value in values.items()},
        "arrays": entries,
        "length": len(content),
        "digest": hashlib.sha256(content).hexdigest(),
    }
    told = json.dumps(header).encode("ascii")
    start = _START.pack(_NAME, len(told), hashlib.sha256(told).digest()) + told
    whole = start + bytes(_aligned(len(start)) - len(start)) + content
    write_atomically(path, whole)
    return len(whole)


def cached_bytes(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How large a file with arrays of these shapes is, to a few hundred bytes.

    >>> cached_bytes({"img": (512, 1024, 3), "gt_seg_map": (512, 1024)})
    2107392
    """
    data = sum(_aligned(8 * s[0]) + s[0] * _stride(list(s)) for s in shapes.values())
    return data + 2048


def _with_sums(array: NDArray[np.uint8]) -> bytes:
    """Row sums and rows of an array, each part padded."""
    height, stride = array.shape[0], _stride(list(array.shape))
    rows = np.zeros((height, stride), np.uint8)
    flat = array.reshape(height, -1)
    rows[:, : flat.shape[1]] = flat
    sums = rows.view(np.uint64).sum(axis=1, dtype=np.uint64).tobytes()
    return sums + bytes(_aligned(len(sums)) - len(sums)) + rows.tobytes()


def _stride(shape: list[int]) -> int:
    return _aligned(int(np.prod(shape[1:])))


def _aligned(length: int) -> int:
    return -(-length // _ALIGN) * _ALIGN


def _encoded(value: Any) -> Any:
    """A value as JSON keeps it; tuples are told from lists, as steps tell them apart."""
    if isinstance(value, tuple):
        return {"tuple": [_encoded(one) for one in value]}
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"cannot cache a value of type {type(value).__name__}: {value!r}")


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(_decoded(one) for one in value["tuple"])
    return [_decoded(one) for one in value] if isinstance(value, list) else value
