"""The files below a folder, without leaving any out in silence."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class FileTree:
    """Files below a folder.

    Attributes:
        names: POSIX paths relative to the folder, in no order.
        broken: Those of them that are links to nowhere.
    """

    names: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)


def files_below(folder: str | Path) -> FileTree:
    """The files of a folder and its subfolders.

    Hidden files and folders are passed over; linked folders are followed, but not into themselves.

    Args:
        folder: Folder to search.

    Raises:
        FileNotFoundError: There is no such folder.
        PermissionError: A folder cannot be listed; its files would be missing without a word.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, "a").mkdir()
        ...     _ = Path(root, "a", "b.png").write_bytes(b"")
        ...     files_below(root).names
        ['a/b.png']
    """
    tree = FileTree()
    _walk(str(folder), "", (_identity(folder),), tree)
    return tree


def _walk(folder: str, prefix: str, above: tuple[tuple[int, int], ...], tree: FileTree) -> None:
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith(".")]
    except PermissionError:
        raise PermissionError(
            f"cannot list folder {os.path.abspath(folder)}: permission denied; give yourself the "
            "right to read it, or move it away"
        ) from None
    for entry in found:
        name = prefix + entry.name
        if not entry.is_dir():
            tree.names.append(name)
            if entry.is_symlink() and not os.path.exists(entry.path):
                tree.broken.add(name)
            continue
        identity = _identity(entry.path)
        if identity not in above:  # a link to a folder above would be followed for ever
            _walk(entry.path, f"{name}/", (*above, identity), tree)


def _identity(folder: str | Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino
