"""Tables over seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from uda.evaluation.report import write_metrics
from uda.evaluation.summary import RunSummary, markdown_table, summarise_runs


def report(folder: Path, seed: int | None, hits: int, **context: object) -> Path:
    """Write a report of one class with IoU `hits` percent and return its path."""
    path = folder / f"{len(list(folder.iterdir()))}.json"
    matrix = torch.tensor([[hits, 100 - hits], [0, 0]])
    about = {"experiment": "daformer", "seed": seed, **context}
    write_metrics(path, {}, {"student": matrix}, ["road", "sky"], about, subsets={"1": [0]})
    return path


def test_summarise_runs_values(tmp_path: Path) -> None:
    """40, 44, 48: mean 44, sample deviation sqrt((16 + 0 + 16) / 2) = 4; seeds are sorted."""
    paths = [report(tmp_path, seed, hits) for seed, hits in ((2, 48), (0, 40), (1, 44))]
    paths.append(report(tmp_path, 0, 90, experiment="oracle", dataset="dusk"))
    rows = summarise_runs(paths, metrics=["mIoU1"])
    assert rows[0] == RunSummary("daformer", "", "student", "mIoU1", {0: 40.0, 1: 44.0, 2: 48.0})
    assert rows[0].mean == 44
    assert rows[0].std == 4
    assert rows[1].std is None
    assert markdown_table(rows).splitlines()[2:] == [
        "| daformer |  | student | mIoU1 | 40.00 | 44.00 | 48.00 | 44.00 | 4.00 |",
        "| oracle | dusk | student | mIoU1 | 90.00 | - | - | 90.00 | - |",
    ]


def test_summarise_runs_errors(tmp_path: Path) -> None:
    """Every file that cannot enter the table is named."""
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "none.json")):
        summarise_runs([tmp_path / "none.json"])
    first, second = report(tmp_path, 0, 40), report(tmp_path, 0, 41)
    with pytest.raises(ValueError, match="0.json and .*1.json both hold seed 0"):
        summarise_runs([first, second])
    with pytest.raises(
        ValueError, match="has no 'mIoU16' for the student; it has mIoU, mIoU1, aAcc"
    ):
        summarise_runs([first], metrics=["mIoU16"])
    with pytest.raises(ValueError, match="2.json lacks seed"):
        summarise_runs([report(tmp_path, None, 40)])
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ValueError, match="broken.json is not JSON"):
        summarise_runs([broken])
    broken.write_text(json.dumps({"context": {}}))
    with pytest.raises(ValueError, match="no 'context' and 'networks'"):
        summarise_runs([broken])
