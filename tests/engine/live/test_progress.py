"""The progress line and the table of an evaluation."""

from __future__ import annotations

import io
import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from uda.engine.hooks import DeviceLogger
from uda.engine.live import progress as module
from uda.engine.live.progress import ProgressLine, progress_line
from uda.engine.live.remaining import Remaining
from uda.engine.live.score_table import score_table
from uda.engine.live.terminal import Screen

CODE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")  # colours, and places of the cursor
SCORES = {
    "student/mIoU": 41.2,
    "student/mIoU2": 50.0,
    "student/aAcc": 80.0,
    "student/IoU.road": 90.0,
    "teacher/mIoU": 43.7,
    "teacher/IoU.road": float("nan"),
}


def text_of(what: Any, width: int = 120) -> str:
    """What a terminal shows, without colours."""
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_remaining_values() -> None:
    """Two seconds an iteration; a validation after 5 and one at the end, however odd that is."""
    remaining = Remaining(iterations=7, validation_interval=5)
    assert remaining.seconds(0) is None
    for now in (10.0, 12.0, 14.0):
        remaining.iteration(now)
    assert remaining.each() == 2.0
    assert remaining.seconds(3) == 8.0
    remaining.validation(30.0)
    assert remaining.seconds(3) == 8.0 + 60.0
    for now in (100.0, 103.0):
        remaining.iteration(now)
    assert remaining.seconds(3) == 12.0 + 60.0
    assert remaining.seconds(5) == 6.0 + 30.0
    assert Remaining(iterations=7).seconds(0) is None


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_progress_line_values(width: int) -> None:
    """One line, whatever the width, with a bar where there is room."""
    numbers = {"loss": "0.512", "kept": "63.1 %", "mIoU": "41.20 (best 43.70)"}
    line = progress_line(
        what="train", done=1250, iterations=40000, left=3723.0, numbers=numbers, width=width
    )
    shown = text_of(line, width)
    assert shown.count("\n") == 1
    assert shown.startswith("train 1250/40000")
    assert ("━" in shown or "╸" in shown) == (width >= 100)
    if width >= 80:
        assert shown.startswith("train 1250/40000  ETA 1:02:03")
        assert "loss 0.512  kept 63.1 %  mIoU 41.20 (best 43.70)" in shown


def test_score_table_values() -> None:
    """Classes, means and accuracies by network, and what changed; absent ones show "-"."""
    before = {"student/mIoU": 40.0, "student/IoU.road": 91.0}
    table = score_table(
        SCORES, before, class_names=["road"], palette=[(128, 64, 128)], title="IoU (%)"
    )
    rows = {row.split()[1]: row.split() for row in text_of(table).splitlines() if "│" in row}
    assert text_of(table).startswith("IoU (%)")
    road = next(row for row in text_of(table).splitlines() if "road" in row)
    assert road.split("│")[2:5] == ["   90.00 ", "  -1.00 ", "       - "]
    assert rows["mIoU"][3:8] == ["41.20", "│", "+1.20", "│", "43.70"]
    assert list(rows)[-3:] == ["mIoU", "mIoU2", "aAcc"] or "mAcc" in rows


class Runner(SimpleNamespace):
    """As much of a Runner as the line uses."""


def make_runner(scores: dict[str, float]) -> Runner:
    """After 8 of 9 iterations."""
    logger = DeviceLogger()
    logger.last = {"loss": 0.25, "secondary/pseudo/kept": 0.5}
    meta = {"classes": ["road"], "palette": [(128, 64, 128)]}
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo=meta), __len__=lambda: 3)
    return Runner(
        hooks=[logger],
        model=SimpleNamespace(evaluate=["student"]),
        iter=8,
        max_iters=9,
        val_dataloader=loader,
        val_loop=object(),
        train_loop=SimpleNamespace(val_interval=4),
        logger=logging.Logger("live"),
        cfg={"resume": True},
    )


def test_progress_values() -> None:
    """The line at the last iteration, the table at an evaluation, and nothing after the end."""
    hook, runner = ProgressLine(refresh=0.0), make_runner({})
    console = Console(file=io.StringIO(), force_terminal=True, width=110, no_color=True)
    hook.open(Screen(runner.logger, hidden=lambda text: False, console=console))
    hook.before_val(runner)
    hook.after_val_epoch(runner, {"student/mIoU": 50.0})
    hook.after_val_epoch(runner, SCORES)
    hook.after_train_iter(runner, 8)
    hook.after_train(runner)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    shown = CODE.sub("", written)
    assert "IoU (%) after 8 iterations" in shown
    assert "-8.80" in shown
    assert "train 9/9" in shown
    assert "loss 0.250  kept 50.0 %  mIoU 41.20 (best 50.00)" in shown
    hook.after_train_iter(runner, 9)
    assert console.file.getvalue() == written  # type: ignore[attr-defined]


def test_progress_plain_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no terminal, in another process, or switched off, no screen is opened."""
    opened: list[Screen] = []
    monkeypatch.setattr(ProgressLine, "open", lambda _, screen: opened.append(screen))
    for enabled, rank, terminal in ((False, 0, True), (True, 1, True), (True, 0, False)):
        monkeypatch.setattr(module, "can_redraw", lambda terminal=terminal: terminal)
        monkeypatch.setattr(module, "get_rank", lambda rank=rank: rank)
        ProgressLine(enabled=enabled).before_train(make_runner({}))
    assert opened == []
    monkeypatch.setattr(module, "can_redraw", lambda: True)
    monkeypatch.setattr(module, "get_rank", lambda: 0)
    ProgressLine().before_train(make_runner({}))
    assert len(opened) == 1


def test_progress_resume() -> None:
    """The best score so far, and what changed since the last evaluation, survive a stop."""
    hook, again, runner = ProgressLine(), ProgressLine(), make_runner({})
    hook.after_val_epoch(runner, {"student/mIoU": 50.0})
    hook.after_val_epoch(runner, {"student/mIoU": 40.0})
    saved: dict[str, Any] = {}
    hook.before_save_checkpoint(runner, saved)
    again.after_load_checkpoint(runner, saved)
    assert (again.best, again.scores) == (50.0, {"student/mIoU": 40.0})
    again.after_load_checkpoint(runner, {})
    assert (again.best, again.scores) == (None, {})


def test_progress_errors() -> None:
    """Seconds are not negative."""
    with pytest.raises(ValueError, match="refresh is in seconds, at least 0, not -1"):
        ProgressLine(refresh=-1)
