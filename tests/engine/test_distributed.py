"""Several processes: one exchange of gradients, the same step everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import set_random_seed
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from uda.engine.distributed import (
    Replicated,
    average_gradients,
    broadcast_buffers,
    synchronise_batch_norm,
)
from uda.engine.random_state import RandomState
from uda.engine.train import (
    build_runner,
    count_each_image_once,
    load_config,
    set_precision,
    start_gloo,
)

from .replicas import METHODS, Model, adapted, adversarial, train, train_both
from .tiny_run import write_config


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
    weights = {}
    for method in METHODS:
        model = Model(seed=rank, method=method)
        weights[method] = train(model, Replicated(model).train_step, slice(2 * rank, 2 * rank + 2))
    both = adversarial(seed=rank)
    results = {
        "opponents": train_both(both, Replicated(both).train_step, slice(2 * rank, 2 * rank + 2)),
        "weights": weights,
        "adapted": adapted(rank),
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
@pytest.mark.parametrize("method", METHODS)
def test_replicated_ddp(results: list[dict[str, Any]], method: str) -> None:
    """Two processes with two images each make the steps of one process with all four.

    That includes what is computed over the batch: the share of confident pixels, thresholds of
    classes, and means over labelled pixels, of which the halves have different numbers.
    """
    alone = Model(seed=0, method=method)  # rank 0's weights
    wanted = train(alone, alone.train_step, slice(0, 4))
    halves = Model(seed=0, method=method)
    other = train(halves, halves.train_step, slice(0, 2))
    for result in results:
        torch.testing.assert_close(result["weights"][method], wanted, rtol=1e-4, atol=1e-6)
    # Half of the images alone would have led elsewhere.
    assert any((wanted[name] - other[name]).abs().max() > 1e-3 for name in wanted)


@pytest.mark.ddp
@pytest.mark.slow
def test_groups_and_look_ahead_ddp(results: list[dict[str, Any]]) -> None:
    """Students and teachers of two groups are the same everywhere, virtual steps or not."""
    first, second = (result["adapted"] for result in results)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


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


def test_synchronise_batch_norm_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's layers keep their activation; names, values and modes stay."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    network = nn.Sequential(BatchNormAct2d(3), nn.BatchNorm2d(3)).eval()
    for buffer in network.buffers():
        buffer.add_(1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.randn(2, 3, 4, 4)
    wanted = network(image)
    synchronise_batch_norm(network)
    assert [isinstance(layer, nn.SyncBatchNorm) for layer in network] == [True, True]
    torch.testing.assert_close(network.state_dict(), before)
    torch.testing.assert_close(network(image), wanted)
    assert network[0](torch.full((1, 3, 2, 2), -99.0)).min() == 0  # the activation


def test_synchronise_batch_norm_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="sync_batch_norm=True needs CUDA: torch has no synchron"):
        synchronise_batch_norm(nn.Sequential(nn.BatchNorm2d(3)))


def test_validation_counts_each_image_once() -> None:
    """The sampler's default is changed, what a config says is not."""
    config = Config(
        {
            "val_dataloader": {"sampler": {"type": "DefaultSampler"}},
            "test_dataloader": {"sampler": {"type": "DefaultSampler", "round_up": True}},
        }
    )
    count_each_image_once(config)
    assert config.val_dataloader.sampler.round_up is False
    assert config.test_dataloader.sampler.round_up is True


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
