"""Digests of files: content of one, names and sizes of many."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from uda.runs.digests import file_digest, files_digest


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Four files in two folders, of 0 to 3 bytes."""
    files = [tmp_path / "data" / place for place in ("b/1.png", "b/2.png", "a/1.png", "a/2.png")]
    for size, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
    return files


def test_file_digest_values(tmp_path: Path) -> None:
    """SHA-256 as the command line tool gives it, over several blocks."""
    content = os.urandom(3 * 2**20 + 5)
    (tmp_path / "weights.pth").write_bytes(content)
    assert file_digest(tmp_path / "weights.pth") == hashlib.sha256(content).hexdigest()


def test_files_digest_values(images: list[Path]) -> None:
    """Sorted relative names and sizes, a line each."""
    text = "a/1.png\0002\na/2.png\0003\nb/1.png\0000\nb/2.png\0001\n"
    assert files_digest(images, images[0].parents[1]) == {
        "files": 4,
        "bytes": 6,
        "digest": hashlib.sha256(text.encode()).hexdigest(),
    }


def test_files_digest_properties(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Place, order and files beside them do not matter; a name, a size, a missing file do."""
    root = images[0].parents[1]
    found = files_digest(images, root)
    (root / "a" / "other.txt").write_text("not one of them")
    assert files_digest(images[::-1], root) == found
    moved = root.with_name("moved")
    shutil.copytree(root, moved)
    assert files_digest([moved / file.relative_to(root) for file in images], moved) == found
    monkeypatch.chdir(root)
    assert files_digest([file.relative_to(root) for file in images], "") == found
    images[0].write_bytes(b"longer")
    longer = files_digest(images, root)
    images[0].unlink()
    missing = files_digest(images, root)
    shutil.rmtree(root / "b")
    assert files_digest(images, root)["files"] == 4
    assert len({str(each) for each in (found, longer, missing, files_digest(images, root))}) == 4


def test_files_digest_of_no_file() -> None:
    """Nothing is nothing, wherever."""
    assert files_digest([], "nowhere") == {
        "files": 0,
        "bytes": 0,
        "digest": hashlib.sha256(b"").hexdigest(),
    }


def test_files_digest_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder is listed once and no image is opened, so that many files take little time."""
    files = [tmp_path / f"{number % 3}" / f"{number}.png" for number in range(300)]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    listed: list[str] = []
    scandir = os.scandir

    def counting(folder: Any) -> Any:
        listed.append(os.fspath(folder))
        return scandir(folder)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a file was opened or looked up on its own")

    monkeypatch.setattr(os, "scandir", counting)
    for name in ("open", "stat", "lstat"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert files_digest(files, tmp_path)["files"] == 300
    assert sorted(listed) == [str(tmp_path / name) for name in "012"]
