"""Run folders that differ in one thing each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from uda.runs import Difference, compare_runs, write_record
from uda.runs.comparison import KINDS, relative_difference
from uda.runs.record import continued, new_record
from uda.runs.values import ABSENT

from .folders import LINES, facts, scores, session, training, write_log, write_run


def compared(folder: Path, lines: list[dict[str, Any]] | None = None, **changes: Any) -> list[Any]:
    """The differences of a run from the plain one."""
    write_run(folder / "a")
    write_run(folder / "b", lines, **changes)
    return compare_runs(folder / "a", folder / "b").differences


def test_equal_runs(tmp_path: Path) -> None:
    """Times of start, of iterations and of data, and the folder, are no difference."""
    later = [{**line, "time": 1e3, "data_time": 1e3, "memory": 7, "eta": 3} for line in LINES]
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", later)
    record = write_run(tmp_path / "b", later, config__file="copy.py", config__digest="d1")
    record["sessions"][0].update(started="x", ended="y", command=["train.py", "--work-dir", "b"])
    write_record(tmp_path / "b", record)
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (found.differences, found.iterations, found.scores) == ([], 3, 2)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"seed": 1}, ("setting", "seed", 0, 1)),
        ({"precision": "bf16"}, ("setting", "precision", "off", "bf16")),
        ({"world_size": 2}, ("setting", "world_size", 1, 2)),
        (
            {"determinism__algorithms": True},
            ("setting", "determinism.algorithms", False, True),
        ),
        (
            {"environment__OMP_NUM_THREADS": "2"},
            ("setting", "environment.OMP_NUM_THREADS", ABSENT, "2"),
        ),
        (
            {"config__settings__model__method__teacher__decay": 0.9},
            ("setting", "model.method.teacher.decay", 0.99, 0.9),
        ),
        (
            {"config__settings__param_scheduler": [{"type": "WarmUpPolyLR", "warmup": 3}]},
            ("setting", "param_scheduler.0.warmup", 2, 3),
        ),
        ({"versions__torch": "2.15.0"}, ("version", "versions.torch", "2.14.1", "2.15.0")),
        ({"system__system": "Darwin"}, ("version", "system.system", "Linux", "Darwin")),
        ({"hardware__gpus": ["X"]}, ("hardware", "hardware.gpus", [], ["X"])),
        (
            {"data__source__images__digest": "i1"},
            ("data", "data.source.images.digest", "i0", "i1"),
        ),
        (
            {"weights__model.network.backbone.weights__sha256": "w1"},
            ("weights", "weights.model.network.backbone.weights.sha256", "w0", "w1"),
        ),
        ({"git__dirty": True}, ("git", "git.dirty", False, True)),
    ],
)
def test_one_fact_differs(
    tmp_path: Path, changes: dict[str, Any], wanted: tuple[str, str, Any, Any]
) -> None:
    """The kind, the dotted name, both values; nothing else."""
    assert compared(tmp_path, **changes) == [Difference(*wanted)]


def test_a_number_is_no_truth_value(tmp_path: Path) -> None:
    """A flag is not the number 1."""
    assert [d.name for d in compared(tmp_path, hardware__threads=True)] == ["hardware.threads"]


def test_the_first_iteration_apart(tmp_path: Path) -> None:
    """All values of that iteration, the loss first, and the loss of the last common one."""
    lines = [training(2, 2.0), training(4, 1.2, accuracy=3.0), training(6, 0.5), scores(6, 30.0)]
    found = compared(tmp_path, [*lines[:1], scores(3, 20.0), *lines[1:]])
    assert found == [
        Difference("log", "loss", 1.5, 1.2, (4, 4)),
        Difference("log", "accuracy", ABSENT, 3.0, (4, 4)),
        Difference("log", "loss", 1.0, 0.5, (6, 6)),
    ]
    assert [difference.relative for difference in found] == [pytest.approx(0.2), None, 0.5]


def test_the_last_digit_counts(tmp_path: Path) -> None:
    """Numbers are compared as they are, and NaN equals NaN."""
    lines = [training(2, math.nextafter(2.0, 3.0)), *LINES[1:]]
    (found,) = compared(tmp_path, lines)
    assert (found.name, found.iterations) == ("loss", (2, 2))
    assert 0 < found.relative < 1e-15
    for name in "ab":
        write_log(tmp_path / name, [training(2, math.nan)])
    assert compare_runs(tmp_path / "a", tmp_path / "b").differences == []


def test_scores_and_length(tmp_path: Path) -> None:
    """The last validation of each; iterations that one of the two has not logged."""
    found = compared(tmp_path, [training(2, 2.0), training(4, 1.5), scores(3, 20.0)])
    assert found == [
        Difference("log", "logged iterations", "3, the last 6", "2, the last 4"),
        Difference("score", "student/mIoU", 30.0, 20.0, (6, 3)),
        Difference("score", "validations", "2, the last 6", "1, the last 3"),
    ]
    found = compared(tmp_path, [training(3, 2.0)])
    assert found == [
        Difference("log", "logged iterations", "3, the last 6", "1, the last 3"),
        Difference("score", "validations", "2, the last 6", "none"),
    ]


def test_a_validation_on_the_way(tmp_path: Path) -> None:
    """Runs that end alike and were not alike before."""
    lines = [scores(3, 21.0) if line["step"] == 3 else line for line in LINES]
    assert compared(tmp_path, lines) == [Difference("score", "student/mIoU", 20.0, 21.0, (3, 3))]


def test_runs_without_a_log(tmp_path: Path) -> None:
    """The records alone are compared, and it is said."""
    write_run(tmp_path / "a", [])
    write_run(tmp_path / "b", [])
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (found.differences, found.iterations) == ([], 0)
    write_log(tmp_path / "b", LINES[:1])
    (difference,) = compare_runs(tmp_path / "a", tmp_path / "b").differences
    assert (difference.first, difference.second) == ("none", "1, the last 2")


def test_end_differs(tmp_path: Path) -> None:
    """A run that failed at iteration 4."""
    write_run(tmp_path / "a")
    record = write_run(tmp_path / "b")
    record["sessions"][0].update(outcome="failed", reason="x", last_iteration=4)
    write_record(tmp_path / "b", record)
    assert compare_runs(tmp_path / "a", tmp_path / "b").differences == [
        Difference("end", "outcome", "completed", "failed"),
        Difference("end", "last_iteration", 6, 4),
    ]


def test_restarts(tmp_path: Path) -> None:
    """A restart is no difference; what it changed is, unless both runs changed it alike."""
    for name in "ab":
        write_run(tmp_path / name)
    plain = continued(new_record(facts(), session()), facts(), session("2", from_iteration=4))
    changed = continued(
        new_record(facts(), session()),
        facts(config__settings__model__method__teacher__decay=0.9, config__digest="d1"),
        session("2", from_iteration=4),
    )
    for name in "ab":
        write_log(tmp_path / name, LINES[3:], "2")
    write_record(tmp_path / "b", plain)
    assert compare_runs(tmp_path / "a", tmp_path / "b").differences == []
    write_record(tmp_path / "b", changed)
    told = "iteration 4: 0.99 -> 0.9"
    assert compare_runs(tmp_path / "a", tmp_path / "b").differences == [
        Difference("restart", "model.method.teacher.decay", ABSENT, told)
    ]
    write_record(tmp_path / "a", changed)
    assert compare_runs(tmp_path / "a", tmp_path / "b").differences == []


def test_a_restart_between_two_lines(tmp_path: Path) -> None:
    """The first line after it is compared like any other: it has to be the same."""
    for name in "abc":
        write_run(tmp_path / name)
    restart = session("2", from_iteration=3)
    for name, loss in (("b", 1.5), ("c", 1.4)):
        write_record(tmp_path / name, continued(new_record(facts(), session()), facts(), restart))
        write_log(tmp_path / name, [training(4, loss), *LINES[3:]], "2")
    same = compare_runs(tmp_path / "a", tmp_path / "b")
    assert (same.differences, same.iterations) == ([], 3)
    for pair in ("ac", "ca"):
        (found,) = compare_runs(*(tmp_path / name for name in pair)).differences
        assert (found.kind, found.iterations) == ("log", (4, 4))


def test_the_order_is_that_of_causes(tmp_path: Path) -> None:
    """Settings come first and the end last, whatever order they are found in."""
    found = compared(tmp_path, [training(2, 3.0)], git=None, hardware__threads=2, seed=1)
    kinds = [difference.kind for difference in found]
    assert kinds == sorted(kinds, key=KINDS.index)
    assert kinds[:2] == ["setting", "hardware"]
    assert set(kinds) == {"setting", "hardware", "git", "log", "score"}
    names = [difference.name for difference in found if difference.kind == "git"]
    assert names == ["git"]


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (1.0, -1.0, 2.0),
        (0.0, 5.0, 1.0),
        (math.nan, 1.0, math.inf),
        (math.inf, math.inf, 0.0),
        (math.nan, math.nan, 0.0),
    ],
)
def test_relative_difference_values(first: float, second: float, wanted: float) -> None:
    """The distance over the larger size."""
    assert relative_difference(first, second) == wanted
    assert relative_difference(second, first) == wanted


def test_compare_runs_errors(tmp_path: Path) -> None:
    """A folder that is not there, one without a record, a damaged record."""
    write_run(tmp_path / "a")
    with pytest.raises(FileNotFoundError, match=f"There is no run folder {tmp_path / 'none'}."):
        compare_runs(tmp_path / "a", tmp_path / "none")
    (tmp_path / "b").mkdir()
    with pytest.raises(
        FileNotFoundError, match=f"There is no record {tmp_path / 'b' / 'run.json'}"
    ):
        compare_runs(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        compare_runs(tmp_path / "b", tmp_path / "a")
