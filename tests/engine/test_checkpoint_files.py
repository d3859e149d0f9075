"""Checkpoint files: whole or absent, checked, read as data."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from uda.engine import checkpoint_files
from uda.engine.checkpoint_files import (
    WholeFiles,
    checkpoints,
    damage,
    digest_file,
    newest_checkpoint,
    read_checkpoint,
)


class Harmful:
    """A pickle that makes a folder when it is read."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (self.folder,)


def save(folder: Path, number: int, *, digest: bool = True) -> Path:
    """A checkpoint of a few bytes."""
    path = folder / f"iter_{number}.pth"
    torch.save({"state_dict": {"a": torch.full((4,), float(number))}}, path)
    if digest:
        WholeFiles().put(path.read_bytes(), path)
    return path


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged."""
    lines: list[str] = []
    monkeypatch.setattr(checkpoint_files, "print_log", lambda text, **_: lines.append(text))
    return lines


def test_whole_files_values(tmp_path: Path) -> None:
    """The digest is that of `sha256sum`; removing the file removes it too."""
    path = tmp_path / "iter_1.pth"
    WholeFiles().put(b"content", str(path))
    line = digest_file(path).read_text()
    assert line == f"{hashlib.sha256(b'content').hexdigest()}  iter_1.pth\n"
    WholeFiles().remove(path)
    assert list(tmp_path.iterdir()) == []


def test_damage_values(tmp_path: Path) -> None:
    """A flipped bit, a cut-off end and an empty file are seen, with a digest and without."""
    for digest in (True, False):
        path = save(tmp_path, 5, digest=digest)
        if not digest:
            digest_file(path).unlink()
        assert damage(path) is None
        content = path.read_bytes()
        middle = content.index(torch.full((4,), 5.0).numpy().tobytes())
        flipped = bytearray(content)
        flipped[middle] ^= 1
        for bad in (bytes(flipped), content[:-7], b""):
            path.write_bytes(bad)
            assert damage(path) is not None, (digest, len(bad))


def test_newest_checkpoint_values(tmp_path: Path, said: list[str]) -> None:
    """The newest by number, not by name; a damaged one is skipped and named."""
    assert newest_checkpoint(tmp_path) is None
    files = {number: save(tmp_path, number) for number in (900, 1000, 1100)}
    (tmp_path / "best_mIoU_iter_2000.pth").write_bytes(b"another kind")
    assert checkpoints(tmp_path) == [files[1100], files[1000], files[900]]
    assert newest_checkpoint(tmp_path) == files[1100]
    files[1100].write_bytes(b"half")
    assert newest_checkpoint(tmp_path) == files[1000]
    assert f"{files[1100]} is damaged (its digest is another)" in said[0]


def test_newest_checkpoint_of_this_run_values(tmp_path: Path) -> None:
    """`last_checkpoint` decides where an older run left higher numbers; a foreign name does not."""
    files = {number: save(tmp_path, number) for number in (10, 20, 5000)}
    last = tmp_path / "last_checkpoint"
    last.write_text("elsewhere/run/iter_20.pth")
    assert newest_checkpoint(tmp_path) == files[20]
    last.write_text("iter_30.pth")
    assert newest_checkpoint(tmp_path) == files[5000]


def test_newest_checkpoint_errors(tmp_path: Path, said: list[str]) -> None:
    """Nothing whole is left."""
    for number in (1, 2):
        save(tmp_path, number).write_bytes(b"")
    with pytest.raises(ValueError, match=r"All 2 checkpoints in .* the newest is .*_2.pth"):
        newest_checkpoint(tmp_path)


def test_read_checkpoint_errors(tmp_path: Path) -> None:
    """A hostile file is refused and does nothing; trusted, it is read whole."""
    path, made = tmp_path / "iter_1.pth", tmp_path / "made"
    torch.save({"state_dict": {}, "meta": Harmful(str(made))}, path)
    with pytest.raises(ValueError, match="Wanted a file of tensors.*--trust-checkpoint reads it"):
        read_checkpoint(path)
    assert not made.exists()
    read_checkpoint(path, trust=True)
    assert made.is_dir()
    with pytest.raises(FileNotFoundError, match="There is no checkpoint .*iter_7.pth"):
        read_checkpoint(tmp_path / "iter_7.pth")
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"Wanted a checkpoint \(a dict\) in .*, found list"):
        read_checkpoint(path)
