"""Checkpoint files: written whole or not at all, with a digest, and read without running code."""

from __future__ import annotations

import hashlib
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import print_log

from uda.files import write_atomically
from uda.models.state_dicts import read_file

BACKEND = {"backend": "whole_files"}
LAST = "last_checkpoint"
_NAME = re.compile(r"iter_(\d+)\.pth")
_DIGEST_SUFFIX = ".sha256"


class WholeFiles(LocalBackend):
    """mmengine's local files, written in one step and with a digest beside them."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file and its digest.

        The order makes a kill at any moment harmless: an old digest goes first, and a file
        without one is checked by the sums that torch stores in it.

        Args:
            obj: All bytes.
            filepath: Where to.

        Raises:
            OSError: The disk is full or the folder cannot be written; an old file stays.
        """
        path = Path(filepath)
        content = bytes(obj)
        digest_file(path).unlink(missing_ok=True)
        write_atomically(path, content)
        line = f"{hashlib.sha256(content).hexdigest()}  {path.name}\n"
        write_atomically(digest_file(path), line.encode())

    def remove(self, filepath: str | Path) -> None:
        """Remove a file and its digest."""
        digest_file(Path(filepath)).unlink(missing_ok=True)
        super().remove(filepath)


register_backend(BACKEND["backend"], WholeFiles, force=True)


def digest_file(path: Path) -> Path:
    """Where the digest of a file stands, in the form that `sha256sum --check` reads."""
    return path.with_name(path.name + _DIGEST_SUFFIX)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint file; None if nothing is.

    It is compared with its digest; without one, the sums in torch's own format are checked.

    Args:
        path: The file.
    """
    try:
        if digest_file(path).is_file():
            wanted = digest_file(path).read_bytes().split()[:1]
            return None if wanted == [digest(path).encode()] else "its digest is another"
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            return f"its part {bad} is damaged" if bad else None
    except zipfile.BadZipFile:
        return "it is cut off or no checkpoint"
    except Exception as error:
        # Damaged bytes lead the reader of archives into errors of many kinds.
        return str(error) or type(error).__name__


def checkpoints(folder: str | Path) -> list[Path]:
    """The files `iter_N.pth` of a run's folder, most iterations first."""
    found = [(int(m[1]), path) for path in Path(folder).glob("iter_*.pth") if (m := _match(path))]
    return [path for _, path in sorted(found, reverse=True)]


def newest_checkpoint(folder: str | Path) -> Path | None:
    """The newest undamaged checkpoint of a run; None if there is none.

    The newest is the one that the file `last_checkpoint` names, else that with most iterations; an
    older run in the same folder may have left higher numbers. Each damaged one is named in a
    warning, and the one before it is tried.

    Args:
        folder: The run's folder.

    Raises:
        ValueError: There are checkpoints, and all of them are damaged.
    """
    found = checkpoints(folder)
    named = [path.name for path in found]
    last = Path(folder) / LAST
    if last.is_file():
        name = Path(last.read_bytes().decode(errors="replace").strip()).name
        place = named.index(name) if name in named else 0
        # What lies above it is of an older run in the folder, or was not finished: the last resort.
        found = found[place:] + found[:place]
    for path in found:
        reason = damage(path)
        if reason is None:
            return path
        print_log(
            f"{path} is damaged ({reason}); another checkpoint is looked for.",
            logger="current",
            level=logging.WARNING,
        )
    if found:
        raise ValueError(
            f"All {len(found)} checkpoints in {folder} are damaged, the newest is {found[0]}. "
            "Take the folder away and start again without --resume."
        )
    return None


def read_checkpoint(
    path: str | Path, *, map_location: Any = "cpu", trust: bool = False
) -> dict[str, Any]:
    """What a checkpoint of training holds.

    Args:
        path: The file.
        map_location: Where tensors go, as in `torch.load`.
        trust: Read a file that needs more than tensors and plain values. Code in it is executed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, is not a checkpoint, or needs more than tensors.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"There is no checkpoint {file.absolute()}.")
    if trust:
        content = torch.load(file, map_location=map_location, weights_only=False)
    else:
        try:
            content = read_file(file, map_location=map_location)
        except ValueError as error:
            raise ValueError(
                f"{error} Only if you know who made it: --trust-checkpoint reads it whole, and "
                "runs the code in it."
            ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"Wanted a checkpoint (a dict) in {file}, found {type(content).__name__}; give a file "
            "that tools/train.py wrote."
        )
    return content


def _match(path: Path) -> re.Match[str] | None:
    return _NAME.fullmatch(path.name)
