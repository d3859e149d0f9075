"""Saved predictions come back as they were."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from uda.evaluation.prediction_writer import PredictionWriter

PREDICTION = torch.tensor([[0, 1, 18], [2, 2, 0]])


def test_prediction_writer_values(tmp_path: Path) -> None:
    """The id map and the colours are read back; folder and stem name the files."""
    palette = [(k, 2 * k, 10 * k) for k in range(19)]
    writer = PredictionWriter(tmp_path, palette=palette)
    path = writer.write(PREDICTION, "data/val/bonn/a_0.leftImg8bit.jpg", "student")
    assert path == tmp_path / "student" / "bonn" / "a_0.leftImg8bit.png"
    ids = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint8
    assert np.array_equal(ids, PREDICTION.numpy())
    colours = cv2.imread(str(tmp_path / "student_colour" / "bonn" / path.name))
    assert np.array_equal(colours[..., ::-1], np.array(palette)[PREDICTION.numpy()])
    assert len([entry for entry in tmp_path.rglob("*") if entry.is_file()]) == 2


def test_prediction_writer_repeats(tmp_path: Path) -> None:
    """The same image may be written again, as a padded sampler does; another one may not."""
    writer = PredictionWriter(tmp_path)
    writer.write(PREDICTION, "x/bonn/a.png", "student")
    writer.write(PREDICTION, "x/bonn/a.png", "student")
    writer.write(PREDICTION, "x/bonn/a.png", "teacher")
    with pytest.raises(ValueError, match="y/bonn/a.png and x/bonn/a.png would both be saved as"):
        writer.write(PREDICTION, "y/bonn/a.png", "student")
    writer.start_again()
    writer.write(PREDICTION, "y/bonn/a.png", "student")


def test_prediction_writer_errors(tmp_path: Path) -> None:
    """Ids beyond 8 bits and palettes that do not fit are refused."""
    with pytest.raises(ValueError, match=r"lie in \[0, 255\], got 0 to 256 for a.png"):
        PredictionWriter(tmp_path).write(torch.tensor([[0, 256]]), "a.png", "student")
    with pytest.raises(ValueError, match=r"RGB colours from 0 to 255, got shape \(1, 2\)"):
        PredictionWriter(tmp_path, palette=[(0, 0)])
    with pytest.raises(ValueError, match="got 2 colours and class 18 in the prediction for a.png"):
        PredictionWriter(tmp_path, palette=[(0, 0, 0)] * 2).write(PREDICTION, "a.png", "student")


def test_prediction_writer_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails leaves neither a half file nor a temporary one."""

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        PredictionWriter(tmp_path).write(PREDICTION, "bonn/a.png", "student")
    assert not [entry for entry in tmp_path.rglob("*") if entry.is_file()]
