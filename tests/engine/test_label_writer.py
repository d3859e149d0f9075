"""Labels written by a thread: order, errors, and what an error drops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uda.engine import label_writer
from uda.engine.label_writer import LabelWriter

LABEL = np.zeros((2, 3), np.uint8)


def test_everything_is_written_values(tmp_path: Path) -> None:
    """More labels than may wait, each there once the writer has ended."""
    with LabelWriter() as writer:
        for number in range(100):
            writer.write(tmp_path / f"{number}.png", LABEL)
    assert len(list(tmp_path.glob("*.png"))) == 100


def test_few_labels_wait_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk holds the caller up."""
    monkeypatch.setattr(label_writer, "_WAITING", 2)
    with LabelWriter() as writer:
        for number in range(9):
            writer.write(tmp_path / f"{number}.png", LABEL)
            assert len(list(tmp_path.glob("*.png"))) >= number - 1
        writer.wait()
        assert len(list(tmp_path.glob("*.png"))) == 9


def test_write_errors(tmp_path: Path) -> None:
    """An error of the disk reaches the caller, at the latest when it waits."""
    (tmp_path / "file").touch()
    with LabelWriter() as writer:
        writer.write(tmp_path / "file" / "0.png", LABEL)
        with pytest.raises(OSError, match=r"cannot write .*0.png"):
            writer.wait()
    with pytest.raises(OSError, match=r"cannot write .*1.png"), LabelWriter() as writer:
        writer.write(tmp_path / "file" / "1.png", LABEL)


def test_stop_drops_what_waits(tmp_path: Path) -> None:
    """After an error of the caller nothing more is begun."""

    def stopped() -> None:
        with LabelWriter() as writer:
            for number in range(60):
                writer.write(tmp_path / f"{number}.png", LABEL)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert len(list(tmp_path.glob("*.png"))) < 60
