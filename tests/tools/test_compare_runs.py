"""Two runs compared on the command line: exit status, first line, table, errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.tiny_run import make_runner, write_config
from tests.runs.folders import LINES, training, write_run
from uda.engine.train import load_config

ROOT = Path(__file__).parents[2]


def compare(first: Path, second: Path) -> subprocess.CompletedProcess[str]:
    """The tool as a user runs it."""
    command = [sys.executable, "tools/compare_runs.py", str(first), str(second)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def rows(printed: str) -> list[list[str]]:
    """The cells of the table, without its head."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[1:]]


def test_equal_runs_exit_with_0(tmp_path: Path) -> None:
    """One line says what was compared."""
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    done = compare(tmp_path / "a", tmp_path / "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "The runs are equal to the last digit: facts, 3 logged iterations, 2 validations.\n"
    )


def test_different_runs_exit_with_1(tmp_path: Path) -> None:
    """The first difference in the first line, then all of them; names are no markup."""
    write_run(tmp_path / "[red]a")
    write_run(tmp_path / "b", [training(2, 4.0), *LINES[1:]], hardware__threads=2, seed=1)
    done = compare(tmp_path / "[red]a", tmp_path / "b")
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "First difference: setting seed is 0 in A and 1 in B."
    assert lines[1:3] == [f"A: {tmp_path / '[red]a'}", f"B: {tmp_path / 'b'}"]
    assert rows(done.stdout) == [
        ["setting", "seed", "", "0", "1", ""],
        ["hardware", "hardware.threads", "", "1", "2", ""],
        ["log", "loss", "2", "2.0", "4.0", "0.5"],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "There is no record {}; tools/train.py writes one into the folder of each run."),
        ("{", "The record {} is damaged: it is not JSON ("),
    ],
)
def test_no_comparison_exits_with_2(tmp_path: Path, content: str | None, message: str) -> None:
    """One clear sentence, no traceback."""
    write_run(tmp_path / "a")
    (tmp_path / "b").mkdir()
    file = tmp_path / "b" / "run.json"
    if content is not None:
        file.write_text(content)
    done = compare(tmp_path / "a", tmp_path / "b")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: " + message.format(file))
    assert len(done.stderr.splitlines()) == 1


def test_real_runs_that_differ_in_one_setting(tmp_path: Path) -> None:
    """Two equal runs, and one with another decay of the teacher: that setting, then the losses.

    The first two iterations agree: a decay acts when the teacher has been copied once.
    """
    config = write_config(tmp_path)
    changes = {"a": {}, "b": {}, "c": {"model.method.teacher.decay": 0.5}}
    for name, options in changes.items():
        make_runner(load_config(config, options), tmp_path / name).train()
    equal = compare(tmp_path / "a", tmp_path / "b")
    assert equal.returncode == 0, equal.stdout
    assert "3 logged iterations, 2 validations" in equal.stdout
    done = compare(tmp_path / "a", tmp_path / "c")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == (
        "First difference: setting model.method.teacher.decay is 0.9 in A and 0.5 in B."
    )
    found = rows(done.stdout)
    assert [row[0] for row in found if row[0]] == ["setting", "log", "score"]
    assert found[1][1] == "loss"
    assert int(found[1][2]) > 2
    assert 0 < float(found[1][5]) < 1
