"""`torchrun` with two processes: one that fails stops both, and both stop together when told."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .comparing import assert_same_log, assert_same_run
from .tiny_run import PROJECT, write_config

pytestmark = [pytest.mark.ddp, pytest.mark.slow]


def start(config: Path, work_dir: Path) -> subprocess.Popen[str]:
    """`torchrun --nproc_per_node 2 tools/train.py ... --resume`."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
            *("--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0"),
            *("tools/train.py", str(config), "--work-dir", str(work_dir)),
            *("--launcher", "pytorch", "--resume"),
        ],
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_one_failure_stops_all(tmp_path: Path) -> None:
    """A file that cannot be read ends both processes; its error is told, and where."""
    config = write_config(tmp_path, iterations=3000, val_interval=3000)
    image = tmp_path / "data/target/images/2.png"
    image.write_bytes(image.read_bytes()[:50])
    process = start(config, tmp_path / "run")
    told, _ = process.communicate(timeout=180)
    assert process.returncode == 1
    cause = rf"error in process ([01]) of 2: cannot read image file {re.escape(str(image))}: it is"
    failed = re.search(cause, told)
    assert failed, told
    assert "MKL_NUM_THREADS" not in told  # no advice of libraries before the run
    # The other one was waiting for it, or torchrun has ended it.
    assert f"[rank{failed[1]}]: Traceback" not in told
    assert not list((tmp_path / "run").glob("iter_*.pth"))


def test_signal_stops_all_at_the_same_iteration(tmp_path: Path) -> None:
    """SIGTERM to the launcher: both save once, exit with 75, and go on as if never stopped."""
    config = write_config(tmp_path, iterations=240, val_interval=240)
    with config.open("a", encoding="utf-8") as file:
        file.write("default_hooks['checkpoint'] = dict(interval=50)\n")
    straight, told = tmp_path / "straight", tmp_path / "told"
    assert start(config, straight).wait(300) == 0
    process = start(config, told)
    deadline = time.monotonic() + 180
    while not list(told.glob("iter_*.pth")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert "exiting with code 75" in output
    (newest,) = sorted(told.glob("iter_*.pth"), key=os.path.getmtime)[-1:]
    number = int(newest.stem.partition("_")[2])
    assert 50 < number < 240
    assert number % 10 == 0  # when the processes ask each other
    assert start(config, told).wait(300) == 0
    assert_same_run(straight / "iter_240.pth", told / "iter_240.pth")
    assert_same_log(straight, told)
