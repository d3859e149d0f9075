"""Several processes: one exchange of gradients, the same step everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.engine.distributed import Replicated
from uda.engine.train import build_runner, load_config, set_precision, start_gloo
from uda.methods import SourceOnly
from uda.methods.base import PlainOptimiser
from uda.structures import Batch, Labelled

from .tiny_run import write_config


class Model(nn.Module):
    """As much of the Runner's model as `Replicated` uses, around source-only training."""

    average_gradients: Any = None

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.method = SourceOnly(student=nn.Conv2d(3, 2, 3, padding=1))

    def train_step(self, data: Batch, optim_wrapper: PlainOptimiser) -> dict[str, Tensor]:
        """One step, with the exchange before it."""
        optim_wrapper.before_step = self.average_gradients  # type: ignore[attr-defined]
        return self.method.training_step(data, optim_wrapper)


class Exchanging(PlainOptimiser):
    """An optimiser that averages gradients before its step."""

    before_step: Any = None

    def step(self) -> None:
        """Average, then move."""
        if self.before_step is not None:
            self.before_step()
        super().step()


def batch(rows: slice) -> Batch:
    """Some of four labelled images."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 3, 6, 6, generator=generator)
    label = torch.randint(2, (4, 6, 6), generator=generator)
    return Batch(Labelled(image[rows], label[rows]))


def train(model: Model, step: Any, rows: slice) -> list[Tensor]:
    """The weights after three steps."""
    adam = torch.optim.AdamW(model.method.student.parameters(), lr=0.01)
    for _ in range(3):
        step(batch(rows), Exchanging(adam))
    return [p.detach().clone() for p in model.method.student.parameters()]


def work(rank: int, folder: str) -> None:
    """One of two processes; each starts from other weights and sees half of the images."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    model = Model(seed=rank)
    replicated = Replicated(model)
    weights = train(model, replicated.train_step, slice(2 * rank, 2 * rank + 2))
    torch.save(weights, f"{folder}/{rank}.pth")
    torch.distributed.destroy_process_group()


@pytest.mark.ddp
@pytest.mark.slow
def test_replicated_ddp(tmp_path: Path) -> None:
    """Two processes with two images each make the steps of one process with all four."""
    torch.multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    alone = Model(seed=0)  # rank 0's weights
    wanted = train(alone, alone.train_step, slice(0, 4))
    for rank in range(2):
        for one, two in zip(wanted, torch.load(tmp_path / f"{rank}.pth"), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_start_gloo_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: only torchrun, and what it should have set is named."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="only --launcher pytorch"):
        start_gloo("slurm")
    monkeypatch.setitem(os.environ, "RANK", "0")
    with pytest.raises(ValueError, match="needs WORLD_SIZE, LOCAL_RANK in the environment"):
        start_gloo("pytorch")


def test_precision_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bf16 chooses its wrapper, which the Runner builds; fp16 on a CPU is refused."""
    config = load_config(write_config(tmp_path))
    set_precision(config, "off")
    assert config.optim_wrapper.type == "OptimWrapper"
    set_precision(config, "bf16")
    assert config.optim_wrapper.type == "BFloat16OptimWrapper"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="--amp fp16 needs a CUDA device"):
        build_runner(config, work_dir=tmp_path / "run", amp="fp16")
