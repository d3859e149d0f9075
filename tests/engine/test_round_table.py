"""The table of rounds: shares of the manifest, scores of the last validation, cut-off logs."""

from __future__ import annotations

import json
from pathlib import Path

from uda.data.pseudo_labels import LabelledImage, Manifest
from uda.engine.round_table import last_scores, round_lines, round_results


def write_round(folder: Path, number: int, kept: tuple[int, int]) -> Path:
    """Labels of one image of ten pixels, six of them predicted as road and four as car."""
    run = folder / f"round_{number}"
    (run / "labels").mkdir(parents=True)
    images = [LabelledImage("a.png", "a_pseudo_label.png", (2, 5), kept, (6, 4))]
    Manifest(["road", "car"], images, [0.9, 0.8]).write(run / "labels")
    return run


def write_scores(run: Path, session: str, *values: float, end: str = "") -> None:
    """A log of validations, after a line of training."""
    file = run / session / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True)
    lines = [json.dumps({"loss": 0.5, "step": 1})]
    lines += [json.dumps({"student/mIoU": value, "student/aAcc": 99.0}) for value in values]
    file.write_text("\n".join([*lines, end]), encoding="utf-8")


def test_round_table_values(tmp_path: Path) -> None:
    """A column a round; a round without finished labels is not there yet."""
    for number, kept in ((1, (3, 1)), (2, (6, 2))):
        run = write_round(tmp_path, number, kept)
        write_scores(run, "20260101_000000", 30.0, 40.0 + number)
    (tmp_path / "round_3" / "labels").mkdir(parents=True)
    results = round_results(tmp_path)
    assert [result.kept for result in results] == [0.4, 0.8]
    assert [result.kept_shares for result in results] == [[0.5, 0.25], [1.0, 0.5]]
    assert round_lines(results) == [
        "| | round 1 | round 2 |",
        "| --- | ---: | ---: |",
        "| mIoU of the student, % | 41.00 | 42.00 |",
        "| pixels with a label, % | 40.0 | 80.0 |",
        "| of those predicted as road, % | 50.0 | 100.0 |",
        "| of those predicted as car, % | 25.0 | 50.0 |",
    ]


def test_last_scores_are_those_of_the_last_session(tmp_path: Path) -> None:
    """A restart writes a log of its own; a line that a kill cut off is passed over."""
    write_scores(tmp_path, "20260101_000000", 30.0, end='{"student/mIoU": 3')
    assert last_scores(tmp_path) == {"student": 30.0}
    write_scores(tmp_path, "20260102_000000", 50.0)
    assert last_scores(tmp_path) == {"student": 50.0}


def test_round_without_validation_has_no_score(tmp_path: Path) -> None:
    """The table then has the shares alone."""
    write_round(tmp_path, 1, (3, 1))
    assert round_lines(round_results(tmp_path))[2].startswith("| pixels with a label")
