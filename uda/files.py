"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import hashlib
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
    name keeps two processes that write the same file from mixing their bytes; a digest stands for
    the name itself, so that the longest name a file may have is no trouble.

    Args:
        path: File to write; its folder is made when it is missing.
        content: Every byte of the file.

    Raises:
        OSError: The disk is full or the folder cannot be written; the message names the file, and
            for a full disk how many bytes were wanted and how many are free. The old file, if any,
            is unchanged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = Path(folder) / "deep" / "note.txt"
        ...     write_atomically(target, b"whole")
        ...     target.read_bytes(), len(list(target.parent.iterdir()))
        (b'whole', 1)
    """
    path = Path(path)
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
    partial = path.with_name(f".{digest}.{os.getpid()}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise _with_name(error, path, len(content)) from error


def _no_space(path: Path, size: int) -> str:
    try:
        free = f"{shutil.disk_usage(path.parent).free:,} bytes are free there"
    except OSError:
        free = "how many are free there cannot be told"
    return (
        f"The disk is full: {path} needs {size:,} bytes, {free} (or the quota is used up); "
        "make room, then start the same command again: what was written is kept."
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


def _with_name(error: OSError, path: Path, size: int) -> OSError:
    """The same kind of error in one sentence: a full disk, for one, does not say for which file."""
    reason = (error.strerror or str(error)).lower()
    told = type(error)(f"cannot write {path.absolute()}: {reason}")
    if error.errno in _FULL:
        told = OSError(_no_space(path.absolute(), size))
    told.errno = error.errno
    return told
