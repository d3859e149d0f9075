"""The record of whole runs: completed, failed, stopped, resumed, in a folder that is not empty."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mmengine.runner import BaseLoop, Runner

from uda.engine import run_record
from uda.engine.run_record import RunRecord, mark_stopped, record_hook, recorded
from uda.engine.train import load_config
from uda.runs import compare_runs, read_record
from uda.runs.record import STOPPED

from .tiny_run import make_runner, write_config


class StopAt:
    """Does something before an iteration, as a signal would."""

    def __init__(self, iteration: int, action: Any) -> None:
        self.iteration, self.action = iteration, action

    def __call__(self, runner: Any) -> None:
        """As a hook's method."""
        if runner.iter == self.iteration:
            self.action(runner)


def train(folder: Path, *, at: int = -1, action: Any = None, resume: bool = False) -> Runner:
    """A run of six iterations with a checkpoint at 3 and 6, in which something may happen."""
    runner = make_runner(folder.parent / "config.py", folder, resume=resume)
    hook = record_hook(runner)
    assert hook is not None
    original, act = hook.after_train_iter, StopAt(at, action)

    def after_train_iter(runner: Any, *args: Any, **kwargs: Any) -> None:
        original(runner, *args, **kwargs)
        act(runner)

    hook.after_train_iter = after_train_iter  # type: ignore[method-assign]
    with recorded(runner):
        runner.train()
    return runner


def fail(error: BaseException) -> Any:
    """An action that raises."""

    def action(_: Any) -> None:
        raise error

    return action


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, and a completed run in `run`."""
    folder = tmp_path_factory.mktemp("record")
    write_config(folder)
    train(folder / "run")
    return folder


def test_completed_run_values(folder: Path) -> None:
    """One session with start and end; all facts are there, and the run's folder is in none."""
    record = read_record(folder / "run")
    (session,) = record["sessions"]
    assert session["outcome"] == "completed"
    assert session["reason"] is None
    assert (session["from_iteration"], session["last_iteration"]) == (0, 6)
    assert session["max_iterations"] == 6
    assert session["started"] <= session["ended"]
    assert session["command"] == sys.argv
    assert (folder / "run" / session["log"]).is_dir()
    assert (record["seed"], record["precision"], record["launcher"]) == (0, "off", "none")
    assert record["world_size"] == 1
    assert record["determinism"]["algorithms"] is False
    assert record["config"]["settings"]["model"]["method"]["teacher"]["decay"] == 0.9
    assert "work_dir" not in record["config"]["settings"]
    assert record["config"]["file"] == "config.py"
    assert {name: facts["items"] for name, facts in record["data"].items()} == {
        "source": 4,
        "target": 4,
        "validation": 2,
    }
    for name in ("versions", "system", "hardware"):
        assert record[name]
    assert str(folder / "run") not in (folder / "run" / "run.json").read_text()


def test_resumed_run_equals_a_straight_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed at iteration 5, resumed from the checkpoint of 3: in the end nothing differs."""
    work_dir = folder / "resumed"
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder / "home"))
    error = ValueError(f"No file {folder / 'home' / 'x'} here.")
    with pytest.raises(ValueError, match="No file"):
        train(work_dir, at=4, action=fail(error))
    (failed,) = read_record(work_dir)["sessions"]
    assert failed["outcome"] == "failed"
    assert failed["reason"] == f"ValueError: No file {Path('~') / 'x'} here."
    assert failed["last_iteration"] == 5
    found = compare_runs(folder / "run", work_dir).differences
    assert {difference.kind for difference in found} == {"log", "score", "end"}
    assert [(d.name, d.first, d.second) for d in found if d.kind != "score"] == [
        ("logged iterations", "3, the last 6", "2, the last 4"),
        ("outcome", "completed", "failed"),
        ("last_iteration", 6, 5),
    ]
    train(work_dir, resume=True)
    record = read_record(work_dir)
    assert record["sessions"][0] == failed
    assert len(record["sessions"]) == 2
    again = record["sessions"][1]
    assert (again["outcome"], again["from_iteration"], again["last_iteration"]) == (
        "completed",
        3,
        6,
    )
    assert again["changes"] == []
    # Losses are logged every 2 iterations: the mean of 3 and 4 was cut in two.
    compared = compare_runs(folder / "run", work_dir)
    assert (compared.differences, compared.iterations, compared.scores) == ([], 3, 2)


@pytest.mark.parametrize(
    ("action", "error", "reason"),
    [
        (fail(KeyboardInterrupt()), KeyboardInterrupt, "KeyboardInterrupt (SIGINT)"),
        (fail(SystemExit(143)), SystemExit, "SystemExit(143)"),
        (
            lambda runner: (mark_stopped(runner, "SIGTERM"), fail(SystemExit())(runner)),
            SystemExit,
            "SIGTERM",
        ),
    ],
)
def test_stopped_run_values(folder: Path, action: Any, error: Any, reason: str) -> None:
    """A run that was interrupted: the reason, and the iteration reached."""
    work_dir = folder / f"stopped {reason}"
    with pytest.raises(error):
        train(work_dir, at=1, action=action)
    (session,) = read_record(work_dir)["sessions"]
    assert (session["outcome"], session["reason"]) == (STOPPED, reason)
    assert session["last_iteration"] == 2


def test_run_that_was_told_to_stop(folder: Path) -> None:
    """The loop ends by itself after the iteration, with and without a reason."""

    def tell(runner: Any) -> None:
        runner.train_loop.stop_training = True

    def tell_why(runner: Any) -> None:
        mark_stopped(runner, "SIGUSR1")
        tell(runner)

    told = []
    for name, action in (("told", tell), ("told why", tell_why)):
        train(folder / name, at=2, action=action)
        told += read_record(folder / name)["sessions"]
    assert [session["outcome"] for session in told] == [STOPPED, STOPPED]
    assert [session["reason"] for session in told] == [
        "training was ended before the last iteration",
        "SIGUSR1",
    ]
    assert [session["last_iteration"] for session in told] == [3, 3]


def test_signal_in_the_last_iteration(folder: Path) -> None:
    """A run that was told to stop when nothing was left to do has completed."""
    train(folder / "late", at=5, action=lambda runner: mark_stopped(runner, "SIGTERM"))
    (session,) = read_record(folder / "late")["sessions"]
    assert (session["outcome"], session["reason"]) == ("completed", None)


def test_killed_run_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be written at the end: the record says "running", and the last checkpoint."""
    monkeypatch.setattr(RunRecord, "ended", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        train(folder / "killed", at=4, action=fail(KeyboardInterrupt()))
    (session,) = read_record(folder / "killed")["sessions"]
    assert (session["outcome"], session["ended"], session["last_iteration"]) == ("running", None, 3)


def test_run_that_fails_before_its_first_iteration(folder: Path) -> None:
    """A checkpoint of another network: the record is there, with the reason and no iteration."""
    work_dir = folder / "unfit"
    work_dir.mkdir()
    shutil.copy(folder / "run" / "iter_3.pth", work_dir)
    config = load_config(folder / "config.py", {"model.network.decode_head.channels": 16})
    runner = make_runner(config, work_dir, resume=True)
    with pytest.raises(ValueError, match="does not fit"), recorded(runner):
        runner.train()
    (session,) = read_record(work_dir)["sessions"]
    assert (session["outcome"], session["from_iteration"]) == ("failed", None)
    assert "does not fit the networks of this run" in session["reason"]


class Loop(BaseLoop):
    """A training loop that has been built."""

    def __init__(self) -> None:
        """Nothing to build."""

    def run(self) -> None:
        """Nothing to do."""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the hook logs."""
    found: list[str] = []
    monkeypatch.setattr(run_record, "print_log", lambda text, **_: found.append(text))
    monkeypatch.setattr(run_record, "run_facts", lambda _: {"seed": 3})
    return found


def small_runner(folder: Path, *, resume: bool = False, rank: int = 0, loop: Any = None) -> Any:
    """As much of a Runner as the hook uses."""
    return SimpleNamespace(
        rank=rank,
        _train_loop=Loop() if loop is None else loop,
        work_dir=str(folder),
        timestamp="log",
        iter=0,
        max_iters=4,
        cfg={"resume": resume},
        hooks=[],
    )


def test_record_of_an_earlier_run_is_kept(tmp_path: Path, said: list[str]) -> None:
    """A new run in the folder of another one; resuming goes on with the newer record."""
    for _ in range(2):
        RunRecord().before_run(small_runner(tmp_path))
    RunRecord().before_run(small_runner(tmp_path, resume=True))
    assert len(read_record(tmp_path / "run.1.json")["sessions"]) == 1
    assert len(read_record(tmp_path)["sessions"]) == 2
    assert said == [
        f"{tmp_path / 'run.json'} belongs to an earlier run in this folder. It is kept as "
        "run.1.json; a new record begins."
    ]


@pytest.mark.parametrize("content", ['{"kind": "uda run", "for', '{"kind": "other"}', "[]", ""])
@pytest.mark.parametrize("resume", [False, True])
def test_unreadable_record_is_kept(
    tmp_path: Path, said: list[str], content: str, resume: bool
) -> None:
    """A damaged record and another program's file: a warning, and the run goes on."""
    (tmp_path / "run.json").write_text(content)
    RunRecord().before_run(small_runner(tmp_path, resume=resume))
    assert (tmp_path / "run.1.json").read_text() == content
    assert read_record(tmp_path)["seed"] == 3
    assert len(said) == 1
    assert "It is kept as run.1.json; a new record begins." in said[0]


def test_record_that_cannot_be_moved(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is overwritten, and that is said."""

    def refuse(_: Path) -> Path:
        raise PermissionError("not allowed")

    (tmp_path / "run.json").write_text("{")
    monkeypatch.setattr(run_record, "move_aside", refuse)
    RunRecord().before_run(small_runner(tmp_path))
    assert "It cannot be moved (not allowed) and is overwritten." in said[0]
    assert read_record(tmp_path)["seed"] == 3


def test_record_that_cannot_be_written(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk does not end the run."""

    def refuse(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(run_record, "write_record", refuse)
    RunRecord().before_run(small_runner(tmp_path))
    wanted = f"The record {tmp_path / 'run.json'} could not be written: No space left on device"
    assert said == [wanted]


def test_only_training_on_rank_0_is_recorded(tmp_path: Path, said: list[str]) -> None:
    """Not another process, and not a Runner that validates: all methods of the hook do nothing."""
    for runner in (small_runner(tmp_path, rank=1), small_runner(tmp_path, loop={"type": "x"})):
        hook = RunRecord()
        runner.hooks = [hook]
        hook.before_run(runner)
        hook.before_train(runner)
        hook.after_train_iter(runner, 0)
        hook.before_save_checkpoint(runner, {})
        hook.after_run(runner)
        with pytest.raises(ValueError, match="x"), recorded(runner):
            raise ValueError("x")
    assert list(tmp_path.iterdir()) == []
    assert said == []


def test_runner_without_the_hook() -> None:
    """One that was not built by `build_runner`: nothing is recorded, errors go on."""
    runner = SimpleNamespace(hooks=[])
    mark_stopped(runner, "SIGTERM")
    with pytest.raises(ValueError, match="x"), recorded(runner):
        raise ValueError("x")


def test_record_is_plain_json(folder: Path) -> None:
    """Any reader can read it: no NaN, no infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = (folder / "run" / "run.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse) == read_record(folder / "run")
