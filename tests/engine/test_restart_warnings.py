"""A restart with other settings says so, one line a setting; an equal one says nothing."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from uda.engine.restart_warnings import nothing_left, restart_warnings
from uda.engine.runner import is_for_the_console
from uda.engine.train import Precision, build_runner, load_config

from .tiny_run import write_config

END = " at the first start of this run: it goes on, but not as it would have."


def restart(
    folder: Path, options: dict[str, Any], *, amp: Precision = "off", checkpoint: int = 3
) -> list[str]:
    """What a run that goes on from a checkpoint of a straight one warns of."""
    file = folder / "config.py"
    if not file.exists():
        write_config(folder)
    work_dir = folder / "run"
    if not work_dir.exists():
        config = load_config(file)
        config.experiment_name = f"{folder.name}-straight"
        build_runner(config, work_dir=work_dir).train()
    again = folder / f"again-{amp}-{len(list(folder.iterdir()))}"
    again.mkdir()
    for name in (f"iter_{checkpoint}.pth", "run.json"):
        shutil.copy(work_dir / name, again)
    config = load_config(file, options)
    config.experiment_name = again.as_posix().replace("/", "-")
    runner = build_runner(config, work_dir=again, amp=amp, resume=True)
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno == logging.WARNING and is_for_the_console(record):
                said.append(record.getMessage())

    runner.logger.addHandler(Listener())
    runner.train()
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs lie."""
    return tmp_path_factory.mktemp("restart")


def test_equal_restart_says_nothing(folder: Path) -> None:
    """Nor does one whose changes leave training alone."""
    options = {
        "default_hooks.logger.interval": 3,
        "val_dataloader.batch_size": 2,
        "train_cfg.val_interval": 2,
        "train_dataloader.pin_memory": True,
        "model.evaluate": ["student"],
    }
    assert restart(folder, {}) == []
    assert restart(folder, options) == []


def test_changed_restart_names_setting_and_both_values(folder: Path) -> None:
    """The precision once, not the class it chooses as well."""
    options = {
        "model.method.teacher.decay": 0.5,
        "train_dataloader.batch_size": 3,
        "train_cfg.max_iters": 4,
    }
    assert restart(folder, options, amp="bf16") == [
        f"--amp is bf16, and was off{END}",
        f"train_dataloader.batch_size is 3, and was 2{END}",
        f"model.method.teacher.decay is 0.5, and was 0.9{END}",
        f"train_cfg.max_iters is 4, and was 6{END}",
    ]


def test_fewer_iterations_than_done(folder: Path) -> None:
    """The straight run's length is named by the change, and that nothing is trained."""
    assert restart(folder, {"train_cfg.max_iters": 4}, checkpoint=6) == [
        f"train_cfg.max_iters is 4, and was 6{END}",
        "train_cfg.max_iters is 4, and the checkpoint has 6 iterations: nothing is trained. Give a "
        "larger max_iters, or start another run in another --work-dir.",
    ]
    assert nothing_left(6, 6) is None  # a completed run, started once more


def test_changed_data_and_many_changes() -> None:
    """Digests of the training data count; ten are told, a long value in part."""
    changes = [{"name": "data.source.images.sha256", "before": "a", "after": "b" * 70}]
    changes += [{"name": "data.validation.images.sha256", "before": "a", "after": "b"}]
    changes += [{"name": "versions.torch", "before": "1", "after": "2"}]
    assert list(restart_warnings(changes)) == [
        f"data.source.images.sha256 is {'b' * 57}..., and was a{END}"
    ]
    several = [
        {"name": f"config.settings.model.method.terms.{n}", "before": None, "after": n}
        for n in range(12)
    ]
    told = list(restart_warnings(several))
    assert len(told) == 11
    assert told[-1] == "2 more settings have changed; run.json in the folder has all."
