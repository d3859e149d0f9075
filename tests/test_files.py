"""Files that appear complete or not at all, also where the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from uda.files import write_atomically


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_write_atomically_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The error names file and bytes; the old content stands, nothing else is left."""
    path = tmp_path / "iter_1.pth"
    path.write_bytes(b"old")

    def full(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    message = r"^The disk is full: .*iter_1.pth needs 12,000 bytes, [\d,]+ bytes are free there"
    with pytest.raises(OSError, match=message):
        write_atomically(path, b"x" * 12000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_atomically_errors(tmp_path: Path) -> None:
    """Other errors of the system come through as they are."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file" / "below", b"x")
