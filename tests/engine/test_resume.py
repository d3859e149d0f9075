"""A stopped and resumed run equals one that was not stopped; every method joins by its name."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook

from uda.engine.preemption import EXIT_CODE
from uda.engine.runner import end_workers
from uda.engine.train import Precision, build_runner, load_config

from .comparing import assert_same_log, assert_same_run, logged
from .tiny_run import (
    PROJECT,
    hrda_network_config,
    model_config,
    pseudo_labelled,
    write_config,
    write_pseudo_labels,
)


def _method(**changes: Any) -> dict[str, Any]:
    return {**model_config()["method"], **changes}


# What can be resumed. A new method or part with a state or draws joins here; `test_tables.py` tells
# what is missing.
METHODS: dict[str, dict[str, Any]] = {
    "source_only": {"type": "SourceOnly"},
    "adversarial": {
        "type": "AdversarialWarmUp",
        "terms": [{"type": "AdversarialOutput", "channels": 4, "entropy_weight": 0.1}],
    },
    "daformer": _method(),
    "instance_adaptive": _method(
        teacher={"type": "EMATeacher", "decay": 0.9, "mode": "eval", "buffers": "copy"},
        selector={"type": "InstanceAdaptive", "initial": 0.4, "group": "image"},
        terms=[{"type": "RegionRegularisation"}, {"type": "RegionConsistency"}],
    ),
    "hard_aware": {
        "type": "HardAwareSelfTraining",
        "teacher": {"type": "EMATeacher", "decay": 0.9, "warmup": False, "buffers": "copy"},
        "terms": [{"type": "RegionRegularisation"}, {"type": "RegionConsistency"}],
    },
    "class_balanced": _method(
        teacher={"type": "EMATeacher", "decay": 0.9, "mode": "eval", "buffers": "ema"},
        selector={"type": "ClassBalancedThreshold", "momentum": 0.9, "ramp": 4},
        mixer={"type": "CutMix"},
        terms=[{"type": "EntropyMinimisation", "weight": 0.1}],
        backward="joint",
    ),
    "fst_deep": _method(look_ahead={"type": "LookAhead", "steps": 2, "preset": "reference"}),
    "fst_wide": _method(
        selector={"type": "ClassBalancedThreshold", "momentum": 0.9, "ramp": 4},
        look_ahead={"type": "LookAhead", "mode": "wide", "steps": 2},
    ),
    "new_parts": _method(
        teacher={"type": "PrototypeTeacher", "channels": 16, "momentum": 0.1, "decay": 0.9},
        selector={"type": "AdaptiveThreshold", "momentum": 0.5},
        mixer={"type": "TargetMix"},
        terms=[{"type": "ProgressiveSelfDistillation", "iterations": 6}],
        source_style={"type": "FourierStyle"},
    ),
    "masked": _method(
        terms=[
            {"type": "MaskedConsistency", "block_size": 16, "view": {"type": "ColorJitterBlur"}},
            {
                "type": "MaskedConsistency",
                "images": "halves",
                "block_size": 8,
                "teacher": {"type": "EMATeacher", "decay": 0.8},
                "selector": {"type": "ClassBalancedThreshold", "momentum": 0.9},
            },
        ],
        look_ahead={"type": "LookAhead", "steps": 1},
    ),
    "masked_source_only": {
        "type": "SourceOnly",
        "terms": [
            {
                "type": "MaskedConsistency",
                "block_size": 16,
                "teacher": {"type": "EMATeacher", "decay": 0.8},
                "selector": {"type": "ConfidenceShare", "threshold": 0.4},
            }
        ],
    },
    "two_teachers": _method(
        teacher={"type": "TeacherPair", "decays": (0.9, 0.5)},
        selector={"type": "OptimalTransport", "samples": 64, "iterations": 5, "patience": 2},
    ),
    "foundation_distance": _method(
        teacher={"type": "EMATeacher", "decay": 0.9, "flip_average": True},
        terms=[
            {
                "type": "FeatureDistance",
                "classes": None,
                "measure": "smooth_cosine",
                "domains": ("source", "target"),
                "view": {"type": "ColorJitterBlur"},
                "projection": (16, 16),
            }
        ],
    ),
    "contrast": _method(
        mixer={"type": "MemoryMix", "size": (16, 16), "turn": 0.2, "memory": 2},
        terms=[
            {
                "type": "ClassContrast",
                "channels": [8, 8, 16, 16],
                "levels": [0, 1, 2, 3],
                "kind": "bank",
                "size": 8,
                "memory": 3,
                "start": 1,
                "view": {"type": "ColorJitterBlur"},
            },
            {"type": "PixelContrast", "channels": [8], "levels": [0], "min_pixels": 5},
            {
                "type": "PatchContrast",
                "channels": [8],
                "levels": [0],
                "window": 1.0,  # of 32 rows, which the encoder needs
                "stride": 8,
                "samples": 20,
                "threshold": 0.0,
                "start": 2,
            },
        ],
        look_ahead={"type": "LookAhead", "steps": 1},
    ),
    "dual": {
        "type": "DualTeacherStudent",
        "primary": _method(),
        "secondary": _method(look_ahead={"type": "LookAhead", "steps": 1}),
        "target_mix": {"type": "TargetMix"},
        "start_exchange": 2,
    },
    "hrda": _method(),
}
HOOKS = [
    {"type": "RandomState"},
    {"type": "Preemption"},
    {"type": "DeployCheckpoint"},
    {"type": "TargetStatistics"},
]


class StopAt(Hook):
    """Sends this process a signal in the middle of an iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Send it, once."""
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)


def config_of(folder: Path, method: str, workers: int = 0) -> Config:
    """Six iterations, a checkpoint and a validation every third, a log line every fourth."""
    file = folder / "config.py"
    if not file.exists():
        write_config(folder, workers=workers)
    config = load_config(file)
    config.model.method = copy.deepcopy(METHODS[method])
    if method in ("class_balanced", "hrda"):
        config.model.micro_batches = 2
    if method == "hrda":
        config.model.network = ConfigDict(hrda_network_config())
        config.train_dataloader.batch_size = 4  # the coarsest map of a context is one pixel
    config.custom_hooks = copy.deepcopy(HOOKS)
    if method == "source_only":
        config.train_dataloader.dataset.target = None
        config.custom_hooks.pop()
    if method == "hard_aware":
        target = config.train_dataloader.dataset.target.to_dict()
        labels = write_pseudo_labels(folder / "data")
        config.train_dataloader.dataset = ConfigDict(pseudo_labelled(target, labels))
    if method == "adversarial":
        config.optim_wrapper.opponents = {"discriminator": {"type": "Adam", "lr": 1e-3}}
    config.default_hooks.logger.interval = 4
    return config


def run(config: Config, work_dir: Path, amp: Precision, hook: Hook | None = None) -> None:
    """A run in this process, from whatever random state it is in."""
    for generator in (random.seed, np.random.seed, torch.manual_seed):
        generator(12345)
    config = copy.deepcopy(config)
    config.experiment_name = work_dir.as_posix().replace("/", "-")
    runner = build_runner(config, work_dir=work_dir, amp=amp, resume=work_dir.is_dir())
    if hook is not None:
        runner.register_hook(hook)
    try:
        runner.train()
    finally:
        end_workers()  # they would live as long as this process, for each of many runs


def check(folder: Path, method: str, *, amp: Precision = "off", workers: int = 0) -> None:
    """Straight, killed after iteration 3, and stopped by a signal in iteration 5."""
    config = config_of(folder, method, workers)
    straight, killed, told = (folder / name for name in ("straight", "killed", "told"))
    run(config, straight, amp)

    killed.mkdir()
    shutil.copy(straight / "iter_3.pth", killed)
    run(config, killed, amp)
    assert_same_run(straight / "iter_6.pth", killed / "iter_6.pth")
    assert_same_log(straight, killed)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        run(config, told, amp, StopAt(5))
    assert stop.value.code == EXIT_CODE == 75
    assert signal.getsignal(signal.SIGTERM) is before
    assert [path.name for path in told.glob("iter_*.pth")] != []
    assert (told / "iter_5.pth").is_file()
    run(config, told, amp)
    assert_same_run(straight / "iter_6.pth", told / "iter_6.pth")
    assert_same_log(straight, told)
    # Iterations 5 and 6 make one line, whose mean spans the stop.
    assert logged(told).keys() == logged(straight).keys()


@pytest.mark.parametrize("method", METHODS)
def test_method_resume(tmp_path: Path, method: str) -> None:
    """In this process, in full precision."""
    check(tmp_path, method)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_method_in_bfloat16_with_workers_resume(tmp_path: Path, method: str) -> None:
    """In half precision, with two loader processes."""
    check(tmp_path, method, amp="bf16", workers=2)


def start(config: Path, work_dir: Path) -> subprocess.Popen[bytes]:
    """`tools/train.py` in a process of its own."""
    command = [sys.executable, "tools/train.py", str(config), "--work-dir", str(work_dir)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        [*command, "--resume"],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill a run and its loader processes after a while; False if it had ended by then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    assert process.returncode == 0
    return False


def newest(work_dir: Path) -> int:
    """The iteration of the newest checkpoint; 0 if there is none."""
    return max((int(p.stem.partition("_")[2]) for p in work_dir.glob("iter_*.pth")), default=0)


def await_newer(work_dir: Path, iteration: int) -> None:
    """Wait for a checkpoint after an iteration, a minute at most."""
    deadline = time.monotonic() + 60
    while newest(work_dir) <= iteration and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_signal_to_the_whole_job(tmp_path: Path) -> None:
    """A cluster's SIGTERM reaches loader processes too, and from a stranger: it saves and exits.

    From a stranger, because torch lets a loader process that its own parent ends go quietly.
    """
    write_config(tmp_path, iterations=100000, val_interval=100000, workers=2)
    process = start(tmp_path / "config.py", tmp_path / "run")
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("iter_*.pth")) and time.monotonic() < deadline:
        time.sleep(0.2)
    subprocess.run(["kill", "-TERM", "--", f"-{process.pid}"], check=True)
    assert process.wait(60) == EXIT_CODE
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    session = record["sessions"][-1]
    assert (session["outcome"], session["reason"]) == ("stopped", "SIGTERM")
    assert (tmp_path / "run" / f"iter_{session['last_iteration']}.pth").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_chaos_resume(tmp_path: Path) -> None:
    """Killed at 20 random moments, starting up, saving or validating, a run ends all the same.

    Two loader processes; a checkpoint every 25 of 3000 iterations, a validation every 190.
    """
    write_config(tmp_path, iterations=3000, val_interval=190, workers=2)
    file = tmp_path / "config.py"
    with file.open("a", encoding="utf-8") as config:
        config.write("default_hooks['checkpoint'] = dict(interval=25, max_keep_ckpts=2)\n")
    straight, chaos = tmp_path / "straight", tmp_path / "chaos"
    assert start(file, straight).wait() == 0
    moments = random.Random(0)
    for number in range(20):
        process = start(file, chaos)
        if number % 4:  # most of them when there is something to resume
            await_newer(chaos, newest(chaos))
        assert kill(process, moments.uniform(0.2, 3)), "too short to be killed 20 times"
    assert start(file, chaos).wait() == 0
    assert_same_run(straight / "iter_3000.pth", chaos / "iter_3000.pth")
    assert_same_log(straight, chaos)
    assert logged(chaos).keys() == logged(straight).keys()
    sessions = json.loads((chaos / "run.json").read_text())["sessions"]
    begun = [session["from_iteration"] for session in sessions if session["from_iteration"]]
    assert len(begun) >= 14
    assert begun == sorted(begun)
    assert [path.name for path in sorted(chaos.glob("iter_*.pth"))] == [
        "iter_2975.pth",
        "iter_3000.pth",
    ]
