"""The metrics file: content, strict JSON, nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from uda.evaluation.report import write_metrics

MATRIX = torch.tensor([[3, 1, 0], [2, 4, 0], [0, 0, 0]])


def test_write_metrics_values(tmp_path: Path) -> None:
    """IoU by hand: 3/6 = 50 %, 4/7; class 2 absent. mIoU = (50 + 57.142857...) / 2."""
    path = tmp_path / "new" / "metrics.json"
    context = {"checkpoint": "iter_10.pth", "network": "student", "dataset_size": 5}
    written = write_metrics(
        path,
        {"student/mIoU": 53.57},
        {"student": MATRIX},
        ["road", "sky", "car"],
        context,
        subsets={"1": [0], "none": [2]},
    )
    report = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert report == written
    assert report["context"] == context
    assert report["metrics"] == {"student/mIoU": 53.57}
    assert report["subsets"] == {"1": ["road"], "none": ["car"]}
    student = report["networks"]["student"]
    assert student["mIoU"] == pytest.approx((50 + 400 / 7) / 2)
    assert student["mIoU1"] == 50
    assert student["mIoUnone"] is None
    assert student["aAcc"] == 70
    assert student["IoU"] == {"road": 50, "sky": pytest.approx(400 / 7), "car": None}
    assert student["absent_classes"] == ["car"]
    assert student["confusion_matrix"] == MATRIX.tolist()
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.json"]


def test_write_metrics_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    """A context that JSON cannot hold fails before the old report is touched."""
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_metrics(path, {}, {"student": MATRIX}, "abc", {"object": object()})
    assert path.read_text() == "old"


def test_write_metrics_errors(tmp_path: Path) -> None:
    """Matrix and class list must fit."""
    with pytest.raises(ValueError, match=r"of student has shape \(3, 3\), .* 2 class names"):
        write_metrics(tmp_path / "m.json", {}, {"student": MATRIX}, ["a", "b"], {})
