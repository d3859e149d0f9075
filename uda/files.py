"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

PARTIAL_SUFFIX = ".partial"
# No space on the device; over the user's quota (Windows has no quota error).
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader, or a killed run, never sees half of it.

    The bytes go to a hidden neighbour (same folder, so that the rename stays on one file system),
    are flushed to the disk, and take the final name in one step. The process number in the hidden
    name keeps two processes that write the same file from mixing their bytes.

    Args:
        path: File to write; its folder is made when it is missing.
        content: Every byte of the file.

    Raises:
        OSError: The folder cannot be written or the disk is full (then it says how many bytes were
            wanted and how many are free); the old file, if any, is unchanged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = Path(folder) / "deep" / "note.txt"
        ...     write_atomically(target, b"whole")
        ...     target.read_bytes(), len(list(target.parent.iterdir()))
        (b'whole', 1)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(_no_space(path, len(content))) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def _no_space(path: Path, size: int) -> str:
    try:
        free = f"{shutil.disk_usage(path.parent).free:,} bytes are free there"
    except OSError:
        free = "how many are free there cannot be told"
    return (
        f"The disk is full: {path} needs {size:,} bytes, {free} (or the quota is used up). "
        "Nothing was changed; make room and start again."
    )


def remove_partial_files(folder: str | Path) -> int:
    """Number of left-over temporary files of a killed run that were removed from one folder.

    Only names that `write_atomically` makes are touched: a leading dot and the ending ``.partial``.

    Args:
        folder: Folder to sweep, not its subfolders; a missing folder counts as swept.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / ".a.png.7.partial").write_bytes(b"half")
        ...     remove_partial_files(folder)
        1
    """
    folder = Path(folder)
    if not folder.is_dir():
        return 0
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name[0] == "." and e.name.endswith(PARTIAL_SUFFIX)]
    for name in names:
        (folder / name).unlink(missing_ok=True)
    return len(names)
