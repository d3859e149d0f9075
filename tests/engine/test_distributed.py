"""Several processes: one exchange of gradients, the same step everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable
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

from tests.methods.tiny import CLASSES, make_batch, make_self_training, make_student
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
from uda.methods import (
    AdversarialWarmUp,
    DualTeacherStudent,
    Method,
    SelfTraining,
    SourceOnly,
)
from uda.methods.base import PlainOptimiser
from uda.selftraining import (
    AdaptiveThreshold,
    AdversarialOutput,
    ClassBalancedThreshold,
    ConfidenceShare,
    EMATeacher,
    EntropyPercentile,
    EntropyWeight,
    FeatureDistance,
    InstanceAdaptive,
    LookAhead,
    OptimalTransport,
    PrototypeTeacher,
    RegionConsistency,
    RegionRegularisation,
    TargetMix,
)
from uda.structures import Batch, Labelled, Mixed, NetworkOutput, PseudoLabel, Unlabelled

from .tiny_run import write_config


class Model(nn.Module):
    """As much of the Runner's model as `Replicated` uses, around source-only training."""

    average_gradients: Any = None

    def __init__(self, seed: int, method: str = "source_only") -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.method = METHODS[method]()
        self.method.initialise()

    def train_step(self, data: Batch, optim_wrapper: PlainOptimiser) -> dict[str, Tensor]:
        """One step, with the exchange before it."""
        optim_wrapper.before_step = self.average_gradients  # type: ignore[attr-defined]
        return self.method.training_step(data, optim_wrapper)


class Network(nn.Module):
    """Logits and one map of features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 2, 1)

    def encoder(self) -> nn.Module:
        """What `FeatureDistance` keeps."""
        return nn.Sequential(self.features, AsTuple())

    def forward(self, image: Tensor) -> NetworkOutput:
        """Run it."""
        features = self.features(image)
        return NetworkOutput(self.head(features), (features,))


class AsTuple(nn.Module):
    """A map as a tuple of one."""

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        """Wrap it."""
        return (features,)


class LeftHalf(nn.Module):
    """Pastes the left half of the source; nothing is drawn, so that all processes do the same."""

    def forward(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """Mix."""
        mask = torch.zeros_like(source.label, dtype=torch.bool)
        mask[:, :, :3] = True
        return Mixed(
            torch.where(mask[:, None], source.image, target.image),
            torch.where(mask, source.label, pseudo.label),
            torch.where(mask, 1.0, pseudo.weight),
            mask[:, None],
        )


def self_training(selector: nn.Module, *, prototypes: bool = False) -> Method:
    """Self-training with losses over the labelled pixels and a feature distance on class 1."""
    student = Network()
    teacher = EMATeacher(student, decay=0.5)
    if prototypes:
        teacher = PrototypeTeacher(student, decay=0.5, num_classes=2, channels=4, min_pixels=1)
    return SelfTraining(
        student=student,
        teacher=teacher,
        selector=selector,  # type: ignore[arg-type]
        mixer=LeftHalf(),  # type: ignore[arg-type]
        terms=[FeatureDistance(num_classes=2, classes=[1], weight=0.5)],
        average="valid",
    )


def regions() -> Method:
    """Losses on the kept and on the rejected pixels, of which the halves have different numbers."""
    student = Network()
    return SelfTraining(
        student=student,
        teacher=EMATeacher(student, decay=0.5),
        selector=ClassBalancedThreshold(num_classes=2, momentum=0.5),
        mixer=LeftHalf(),
        terms=[
            RegionRegularisation(confident_weight=1.0),
            RegionConsistency(weight=1.0),
        ],
    )


# Whatever is computed over a batch, a new selector above all, joins here.
METHODS: dict[str, Callable[[], Method]] = {
    "source_only": lambda: SourceOnly(student=nn.Conv2d(3, 2, 3, padding=1)),
    "confidence_share": lambda: self_training(ConfidenceShare(threshold=0.8, scope="batch")),
    "class_balanced": lambda: self_training(
        ClassBalancedThreshold(num_classes=2, momentum=0.5, ramp=3)
    ),
    "instance_adaptive": lambda: self_training(InstanceAdaptive(num_classes=2, initial=0.7)),
    "freematch": lambda: self_training(AdaptiveThreshold(num_classes=2, momentum=0.5)),
    "flexmatch": lambda: self_training(
        AdaptiveThreshold(num_classes=2, rule="flexmatch", threshold=0.7, momentum=0.5)
    ),
    "entropy_percentile": lambda: self_training(EntropyPercentile(percentile=60, rescale=True)),
    "entropy_weight": lambda: self_training(EntropyWeight()),
    "optimal_transport": lambda: self_training(
        OptimalTransport(num_classes=2, patience=1, threshold=0.6)
    ),
    "regions": regions,
    "prototypes": lambda: self_training(
        ConfidenceShare(threshold=0.8, scope="batch"), prototypes=True
    ),
}


class Exchanging(PlainOptimiser):
    """An optimiser that averages gradients before its step."""

    before_step: Any = None

    def step(self) -> None:
        """Average, then move."""
        if self.before_step is not None:
            self.before_step()
        super().step()


def batch(rows: slice) -> Batch:
    """Some of four labelled and four unlabelled images; ever fewer pixels carry a label."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(4, 3, 6, 6, generator=generator)
    label = torch.randint(2, (4, 6, 6), generator=generator)
    for number in range(4):
        label[number, : 2 * number] = 255
    # The third and fourth image are far easier, so that half a batch has another share.
    target = torch.randn(4, 3, 6, 6, generator=generator) * torch.tensor([1, 1, 9, 9]).view(
        4, 1, 1, 1
    )
    return Batch(Labelled(image[rows], label[rows]), Unlabelled(target[rows]))


def train(model: Model, step: Any, rows: slice) -> dict[str, Tensor]:
    """Student, teacher and selector after three steps."""
    adam = torch.optim.AdamW(model.method.student.parameters(), lr=0.01)
    for _ in range(3):
        step(batch(rows), Exchanging(adam))
    return {name: value.clone() for name, value in model.method.state_dict().items()}


class Adapting(Model):
    """The same around two groups of self-training, of which the second looks ahead."""

    def __init__(self, seed: int) -> None:
        nn.Module.__init__(self)
        groups = [make_self_training(make_student(2 * seed + k), terms=[]) for k in range(2)]
        groups[1].use_look_ahead(LookAhead(steps=2))
        self.method = DualTeacherStudent(  # type: ignore[assignment]
            primary=groups[0],
            secondary=groups[1],
            target_mix=TargetMix(num_classes=CLASSES),
        )
        self.method.initialise()


def adapted(rank: int) -> dict[str, Tensor]:
    """All weights after three iterations on images of this process's own."""
    model = Adapting(seed=rank)
    replicated = Replicated(model)
    adam = torch.optim.AdamW(model.method.trained().parameters(), lr=0.01)
    torch.manual_seed(rank)
    for iteration in range(3):
        replicated.train_step(make_batch(10 * rank + iteration), Exchanging(adam))  # type: ignore[arg-type]
    return {name: p.detach().clone() for name, p in model.named_parameters()}


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
