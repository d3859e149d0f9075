"""Logs of one and of several sessions."""

from __future__ import annotations

from pathlib import Path

import pytest

from uda.runs.logs import RunLog, read_log

from .folders import LINES, scores, session, training, write_log


def test_read_log_values(tmp_path: Path) -> None:
    """Training and scores by iteration, without times; folders of no session do not count."""
    write_log(tmp_path, [*LINES, {"lr": 0.1, "step": 8, "memory": 5, "eta": 1, "note": "text"}])
    write_log(tmp_path, [training(2, 9.0)], "of_an_earlier_run")
    log = read_log(tmp_path, {"sessions": [session()]})
    assert log.training == {
        2: {"lr": 0.1, "loss": 2.0},
        4: {"lr": 0.1, "loss": 1.5},
        6: {"lr": 0.1, "loss": 1.0},
        8: {"lr": 0.1},
    }
    assert log.scores == {3: {"student/mIoU": 20.0}, 6: {"student/mIoU": 30.0}}


def test_read_log_of_restarts(tmp_path: Path) -> None:
    """What was logged after the iteration a restart went on from was repeated, or never was.

    The first session logs up to 6 and validates at 3 and 6; the second goes on from 4 and logs at
    other iterations, the third ended before its first iteration.
    """
    write_log(tmp_path, LINES)
    write_log(tmp_path, [training(5, 0.5), training(7, 0.4), scores(8, 40.0)], "second")
    sessions = [
        session(),
        session("second", from_iteration=4),
        session("third", from_iteration=None),
    ]
    log = read_log(tmp_path, {"sessions": sessions})
    assert {step: values["loss"] for step, values in log.training.items()} == {
        2: 2.0,
        4: 1.5,
        5: 0.5,
        7: 0.4,
    }
    assert log.scores == {3: {"student/mIoU": 20.0}, 8: {"student/mIoU": 40.0}}


def test_read_log_of_restarts_between_two_lines(tmp_path: Path) -> None:
    """The first line after a restart counts whole: a checkpoint holds the sums up to it."""
    write_log(tmp_path, [training(2, 2.0), training(4, 1.5)])
    write_log(tmp_path, [training(4, 1.4), training(6, 1.0)], "second")
    sessions = [session(), session("second", from_iteration=3)]
    log = read_log(tmp_path, {"sessions": sessions})
    assert {step: values["loss"] for step, values in log.training.items()} == {
        2: 2.0,
        4: 1.4,
        6: 1.0,
    }
    write_log(tmp_path, [training(4, 1.5)], "third")
    log = read_log(tmp_path, {"sessions": [*sessions, session("third", from_iteration=2)]})
    assert list(log.training) == [2, 4]


def test_read_log_that_was_cut_off(tmp_path: Path) -> None:
    """A killed process leaves half a line at the end; no log at all is an empty one."""
    assert read_log(tmp_path, {"sessions": [session()]}) == RunLog()
    file = write_log(tmp_path, [training(2, 2.0)])
    with file.open("a") as out:
        out.write('{"lr": 0.1, "lo')
    assert list(read_log(tmp_path, {"sessions": [session()]}).training) == [2]


@pytest.mark.parametrize(
    ("line", "message"),
    [("{half", r"line 1 is not JSON \(.*\); remove the line"), ("[1]", "line 1 is no JSON object")],
)
def test_read_log_errors(tmp_path: Path, line: str, message: str) -> None:
    """A damaged line that others follow: file and number."""
    file = write_log(tmp_path, [])
    file.write_text(f'{line}\n{{"lr": 1, "step": 2}}\n')
    with pytest.raises(ValueError, match=f"{file}, {message}"):
        read_log(tmp_path, {"sessions": [session()]})
