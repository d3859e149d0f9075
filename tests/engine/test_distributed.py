"""Several processes: one exchange of gradients, the same step everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.runner import set_random_seed
from torch import Tensor, nn

from uda.engine.distributed import Replicated, average_gradients, broadcast_buffers
from uda.engine.random_state import RandomState
from uda.engine.train import build_runner, load_config, set_precision, start_gloo
from uda.methods import AdversarialWarmUp, SourceOnly
from uda.methods.base import PlainOptimiser
from uda.selftraining import AdversarialOutput
from uda.structures import Batch, Labelled, Unlabelled

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


def adversarial(seed: int) -> Model:
    """The same model with a discriminator."""
    model = Model(seed)
    term = AdversarialOutput(num_classes=2, channels=2, weight=0.5)
    model.method = AdversarialWarmUp(student=model.method.student, terms=[term])  # type: ignore[assignment]
    return model


def train_both(model: Model, step: Any, rows: slice) -> list[Tensor]:
    """The weights of student and discriminator after three steps of each."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 4, 3, 32, 32, generator=generator)
    label = torch.randint(2, (4, 32, 32), generator=generator)
    pairs = Batch(Labelled(image[0, rows], label[rows]), Unlabelled(image[1, rows] + 1))
    networks = (model.method.student, *model.method.opponents().values())
    student, discriminator = (torch.optim.SGD(n.parameters(), lr=0.1) for n in networks)
    opponents = {"discriminator": PlainOptimiser(discriminator)}
    for _ in range(3):
        step(pairs, Exchanging(student, opponents=opponents))
    return [p.detach().clone() for network in networks for p in network.parameters()]


def gradients_of(rank: int) -> list[float | None]:
    """Averaged gradients: one of both processes, one of the second alone, one of none."""
    network = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(3)])
    network[0].grad = torch.tensor([1.0 + rank])
    if rank == 1:
        network[1].grad = torch.tensor([4.0])
    average_gradients(network)
    return [None if p.grad is None else p.grad.item() for p in network]


def buffers_of(rank: int) -> list[Tensor]:
    """Buffers after the exchange; before it each process has its own."""
    norm = nn.BatchNorm2d(2)
    norm.register_buffer("seen", torch.tensor([rank == 0, rank == 1]))
    norm(torch.randn(2, 2, 3, 3) + rank)
    broadcast_buffers(norm)
    return list(norm.buffers())


def states_of(rank: int, folder: str) -> tuple[float, float, int]:
    """A number drawn before a resume and after it, and how many states were saved."""
    runner = SimpleNamespace(seed=3, iter=2, max_iters=9, work_dir=folder)
    runner.hooks = [CheckpointHook(interval=3, by_epoch=False)]
    checkpoint: dict[str, Any] = {}
    hook = RandomState()
    set_random_seed(3)
    hook.before_train(runner)
    hook.after_train_iter(runner, 2)
    if rank == 0:  # as mmengine does
        hook.before_save_checkpoint(runner, checkpoint)
        torch.save(checkpoint, f"{folder}/checkpoint.pth")
    drawn = torch.rand(1).item()
    torch.distributed.barrier()
    resumed = RandomState()
    saved = torch.load(f"{folder}/checkpoint.pth")
    resumed.after_load_checkpoint(runner, saved)
    resumed.before_train_iter(runner, 3)
    return drawn, torch.rand(1).item(), len(saved["random_states"])


def work(rank: int, folder: str) -> None:
    """One of two processes; each starts from other weights and sees half of the images."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    model = Model(seed=rank)
    replicated = Replicated(model)
    both = adversarial(seed=rank)
    results = {
        "opponents": train_both(both, Replicated(both).train_step, slice(2 * rank, 2 * rank + 2)),
        "weights": train(model, replicated.train_step, slice(2 * rank, 2 * rank + 2)),
        "gradients": gradients_of(rank),
        "buffers": buffers_of(rank),
        "states": states_of(rank, folder),
    }
    torch.save(results, f"{folder}/{rank}.pth")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes came to, by rank."""
    folder = tmp_path_factory.mktemp("ddp")
    torch.multiprocessing.spawn(work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pth") for rank in range(2)]


@pytest.mark.ddp
@pytest.mark.slow
def test_replicated_ddp(results: list[dict[str, Any]]) -> None:
    """Two processes with two images each make the steps of one process with all four."""
    alone = Model(seed=0)  # rank 0's weights
    wanted = train(alone, alone.train_step, slice(0, 4))
    for result in results:
        for one, two in zip(wanted, result["weights"], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.ddp
@pytest.mark.slow
def test_opponents_ddp(results: list[dict[str, Any]]) -> None:
    """So does the discriminator: its gradients are exchanged too."""
    alone = adversarial(seed=0)
    wanted = train_both(alone, alone.train_step, slice(0, 4))
    for result in results:
        for one, two in zip(wanted, result["opponents"], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


@pytest.mark.ddp
@pytest.mark.slow
def test_missing_gradients_ddp(results: list[dict[str, Any]]) -> None:
    """(1 + 2) / 2 = 1.5; (0 + 4) / 2 = 2; without a gradient anywhere there is none."""
    assert [result["gradients"] for result in results] == [[1.5, 2.0, None]] * 2


@pytest.mark.ddp
@pytest.mark.slow
def test_buffers_ddp(results: list[dict[str, Any]]) -> None:
    """Running statistics, counters and flags of all processes are rank 0's."""
    first, second = (result["buffers"] for result in results)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))
    assert second[0].abs().max() < 0.1  # running mean: a tenth of about 0, not of 1
    assert second[-1].tolist() == [True, False]


@pytest.mark.ddp
@pytest.mark.slow
def test_random_states_ddp(results: list[dict[str, Any]]) -> None:
    """Each process draws its own numbers, and the same ones after a resume."""
    drawn, again, saved = zip(*(result["states"] for result in results), strict=True)
    assert drawn == again
    assert drawn[0] != drawn[1]
    assert saved == (2, 2)


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
