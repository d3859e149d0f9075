"""What one of two processes does in `test_several_processes.py`; started by `spawn`."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from uda.engine import distributed
from uda.engine.hooks import unwrapped
from uda.engine.model import RunnerOptimiser
from uda.engine.train import build_runner

from .test_resume import METHODS, config_of


class Exchanges:
    """Counts exchanges of gradients, and the steps of the student's optimiser, of a run."""

    def __init__(self) -> None:
        self.count = self.steps = 0
        self._former = distributed.average_gradients
        self._step = RunnerOptimiser.step

    def __enter__(self) -> Exchanges:
        """Count from now on."""

        def counted(network: torch.nn.Module) -> None:
            self.count += 1
            self._former(network)

        def step(optimiser: RunnerOptimiser) -> None:
            self.steps += optimiser.average is not None  # that of an opponent shares the exchange
            self._step(optimiser)

        distributed.average_gradients = counted
        RunnerOptimiser.step = step  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        """Stop counting."""
        distributed.average_gradients = self._former
        RunnerOptimiser.step = self._step  # type: ignore[method-assign]


def run(config: Config, work_dir: Path) -> dict[str, Any]:
    """Train, and say what this process ended with."""
    config = copy.deepcopy(config)
    config.experiment_name = work_dir.as_posix().replace("/", "-")
    resume = bool(list(work_dir.glob("iter_*.pth")))
    torch.distributed.barrier()
    runner = build_runner(config, work_dir=work_dir, launcher="pytorch", resume=resume)
    with Exchanges() as exchanges:
        runner.train()
    model = unwrapped(runner)
    return {
        "state": {name: value.clone() for name, value in model.state_dict().items()},
        "exchanges": exchanges.count,
        "steps": exchanges.steps,
        "scores": runner.message_hub.get_scalar("val/student/mIoU").current(),
        "images": runner.val_evaluator.metrics[0].last_num_images,
    }


def work(rank: int, folder: str, port: int) -> None:
    """Every method: a straight run, then one that goes on from the third iteration."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    results: dict[str, Any] = {}
    for method in METHODS:
        root = Path(folder) / method
        if rank == 0:
            config = config_of(root, method)  # writes labels for one of the methods
        torch.distributed.barrier()
        if rank == 1:
            config = config_of(root, method)
        torch.distributed.barrier()
        straight, resumed = root / "straight", root / "resumed"
        results[method] = {"straight": run(config, straight)}
        if rank == 0:
            resumed.mkdir()
            shutil.copy(straight / "iter_3.pth", resumed)
        torch.distributed.barrier()
        results[method]["resumed"] = run(config, resumed)
    torch.save(results, f"{folder}/{rank}.pth")
    torch.distributed.destroy_process_group()
