"""Digests of files: of the content of one, and of the names and sizes of many."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_BLOCK = 2**20


def file_digest(path: str | Path) -> str:
    """SHA-256 of the content of a file.

    Raises:
        OSError: The file cannot be read.
    """
    found = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def files_digest(paths: Iterable[str | Path], root: str | Path) -> dict[str, Any]:
    """Number, bytes and a SHA-256 over names and sizes of files, whatever their order.

    No file is opened: an image that was changed and kept its name and its size is not noticed.
    That is the price of a digest that takes a fraction of a second for tens of thousands of files.

    Args:
        paths: Files; one that is not there counts without a size.
        root: Folder that names are relative to, so that moved data have the same digest.

    Returns:
        `files`, `bytes`, and `digest` over the sorted relative names and sizes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = [Path(folder) / name for name in ("b.png", "a.png")]
        ...     for file in files:
        ...         _ = file.write_bytes(b"123")
        ...     found = files_digest(files, folder)
        ...     again = files_digest(reversed(files), folder)
        >>> found["files"], found["bytes"], found == again
        (2, 6, True)
    """
    names = [os.fspath(path) for path in paths]
    start = os.path.join(os.fspath(root), "")
    lines = sorted(
        (name[len(start) :] if name.startswith(start) else os.path.relpath(name, start), size)
        for name, size in zip(names, _sizes(names), strict=True)
    )
    found = hashlib.sha256()
    for relative, size in lines:
        line = f"{relative.replace(os.sep, '/')}\0{'' if size < 0 else size}\n"
        found.update(line.encode("utf-8", "surrogateescape"))
    return {
        "files": len(lines),
        "bytes": sum(max(size, 0) for _, size in lines),
        "digest": found.hexdigest(),
    }


def _sizes(names: list[str]) -> list[int]:
    """The size of each file, -1 for one that is not there; each folder is listed once."""
    places = [os.path.split(name) for name in names]
    wanted: dict[str, dict[str, int]] = {}
    for folder, file in places:
        wanted.setdefault(folder, {})[file] = -1
    for folder, files in wanted.items():
        try:
            with os.scandir(folder or os.curdir) as entries:
                for entry in entries:
                    if entry.name in files:
                        files[entry.name] = entry.stat().st_size
        except OSError:
            continue  # The digest then shows that sizes are missing.
    return [wanted[folder][file] for folder, file in places]
