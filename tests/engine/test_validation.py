"""A signal during validation: heard after a batch, exit 75, and a restart ends in the same bits."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook

from uda.engine.preemption import EXIT_CODE

from .comparing import assert_same_log, assert_same_run
from .test_resume import config_of, run


class Tell(Hook):
    """Sends this process a signal in a validation, and counts the batches of all validations."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.batches = 0

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Send it in the first batch of the validation after an iteration."""
        self.batches += 1
        if runner.iter == self.after and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)


def config(folder: Path) -> Config:
    """Batch normalisation of the target in validations, and a checkpoint at the end alone."""
    settings = config_of(folder, "class_balanced")
    settings.default_hooks.checkpoint.interval = 100
    return settings


def test_validation_cut_short_resume(tmp_path: Path) -> None:
    """One of two batches is scored; iteration 4 is saved; the rest is as if nothing had been."""
    straight, told = tmp_path / "straight", tmp_path / "told"
    run(config(tmp_path), straight, "off")
    hook = Tell(after=3)
    with pytest.raises(SystemExit) as stop:
        run(config(tmp_path), told, "off", hook)
    assert stop.value.code == EXIT_CODE
    assert hook.batches == 1
    assert [path.name for path in told.glob("iter_*.pth")] == ["iter_4.pth"]
    run(config(tmp_path), told, "off")
    assert_same_run(straight / "iter_6.pth", told / "iter_6.pth")
    assert_same_log(straight, told)


def test_last_validation_is_finished(tmp_path: Path) -> None:
    """No restart would make it up: all batches, and the run ends as completed."""
    hook = Tell(after=6)
    run(config(tmp_path), tmp_path / "run", "off", hook)
    assert hook.batches == 4
    (session,) = json.loads((tmp_path / "run" / "run.json").read_text())["sessions"]
    assert session["outcome"] == "completed"
