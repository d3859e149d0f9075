"""What adapting costs over plain inference of the same network: time and memory."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uda.engine.classifier_stream import load_classifier, normalisation_of
from uda.tta import Adapter, Guard, adapt

STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Variant:
    """A way to predict a batch.

    Attributes:
        name: In the table.
        method: Of `uda.tta.METHODS`; None: plain inference.
        settings: Of `uda.tta.adapt`.
        guarded: With a guard that never takes anything back, so that each call does all its work.
        every: Calls that are timed together: of `every=k` one adapts.
    """

    name: str
    method: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    guarded: bool = False
    every: int = 1


@dataclass(frozen=True)
class Cost:
    """What a call costs.

    Attributes:
        name: Of the variant.
        wall_s: Median seconds a call.
        cpu_s: Median processor seconds a call, all threads.
        time_ratio: Over plain inference, by processor seconds on a CPU, by the clock on CUDA.
        memory_mib: Peak: of the process on a CPU, of tensors on CUDA; None where nobody tells.
        memory_ratio: Over plain inference.
        images_mib: The part of it that came with the first image; on CUDA what exceeds the weights.
        images_ratio: Over plain inference.
    """

    name: str
    wall_s: float
    cpu_s: float
    time_ratio: float
    memory_mib: float | None
    memory_ratio: float | None
    images_mib: float | None
    images_ratio: float | None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


@dataclass(frozen=True)
class Workload:
    """Network and images that are measured.

    Attributes:
        network: Name of a timm classifier, or a config, whose segmentor is taken.
        weights: Of the classifier, as `load_classifier` takes them; None: drawn at random.
        batch_size: Images in a call.
        size: Height and width; None: the classifier's own, 360 x 480 for a segmentor.
        threads: Of torch; None: its own choice.
    """

    network: str
    weights: str | None = None
    batch_size: int = 1
    size: tuple[int, int] | None = None
    threads: int | None = None

    def build(self) -> tuple[nn.Module, Tensor]:
        """The network on the device that is there, and a batch of noise."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        torch.manual_seed(0)
        network, own_size = self._network()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        images = torch.randn(self.batch_size, 3, *(self.size or own_size))
        return network.to(device).eval(), images.to(device)

    def _network(self) -> tuple[nn.Module, tuple[int, int]]:
        if not self.network.endswith(".py"):
            if self.weights is not None:
                model = load_classifier(self.network, self.weights)
            else:
                import timm

                model = timm.create_model(self.network, pretrained=False)
            side = normalisation_of(model)["size"]
            return model, (side, side)
        from mmseg.registry import MODELS

        from uda.engine.deploy import deploy_config
        from uda.engine.segmentor_stream import SegmentorForward
        from uda.engine.train import load_config

        segmentor = MODELS.build(deploy_config(load_config(self.network)).model)
        return SegmentorForward(segmentor), (360, 480)


class TolerantGuard(Guard):
    """A guard that looks at each batch and finds nothing."""

    def verdict(self, *arguments: Any, **settings: Any) -> None:
        """Nothing is wrong."""


def variants(methods: Sequence[str], settings: dict[str, Any] | None = None) -> list[Variant]:
    """Plain inference, and each method plain, guarded, and at every fourth call."""
    given = dict(settings or {})
    found = [Variant("inference")]
    for name in methods:
        found += [
            Variant(name, name, given),
            Variant(f"{name}, guard", name, given, guarded=True),
            Variant(f"{name}, every=4", name, {**given, "every": 4}, every=4),
        ]
    return found


def overhead(
    workload: Workload, chosen: Sequence[Variant], *, iterations: int = 10, warm_up: int = 2
) -> list[Cost]:
    """Measure variants against the first one.

    Times are taken in turns, a call of each variant after another, so that whatever else the
    machine does meets them alike. On a CPU each variant's memory is measured in a process of its
    own.

    Args:
        workload: Network and images.
        chosen: From `variants`; the first is what the others are compared with.
        iterations: Timed calls of each.
        warm_up: Calls before them.

    Raises:
        ValueError: A number is below 1.
    """
    if iterations < 1 or warm_up < 1:
        raise ValueError(f"iterations and warm_up are at least 1, not {iterations} and {warm_up}.")
    network, images = workload.build()
    models = [_model(network, variant) for variant in chosen]
    walls: list[list[float]] = [[] for _ in chosen]
    cpus: list[list[float]] = [[] for _ in chosen]
    for number in range(warm_up + iterations):
        for index, (model, variant) in enumerate(zip(models, chosen, strict=True)):
            wall, cpu = _timed(model, images, variant.every)
            if number >= warm_up:
                walls[index].append(wall)
                cpus[index].append(cpu)
    memory = [_memory(workload, variant, network, images) for variant in chosen]
    wall_s, cpu_s = ([statistics.median(times) for times in kind] for kind in (walls, cpus))
    ratios = wall_s if images.device.type == "cuda" else cpu_s
    return [
        Cost(
            variant.name,
            wall_s[index],
            cpu_s[index],
            ratios[index] / ratios[0],
            memory[index][0],
            _ratio(memory[index][0], memory[0][0]),
            memory[index][1],
            _ratio(memory[index][1], memory[0][1]),
        )
        for index, variant in enumerate(chosen)
    ]


def _ratio(value: float | None, base: float | None) -> float | None:
    return None if value is None or not base else value / base


def _model(network: nn.Module, variant: Variant) -> nn.Module:
    if variant.method is None:
        return network
    guard: Guard | bool = TolerantGuard() if variant.guarded else False
    return adapt(network, variant.method, guard=guard, **variant.settings)


def _call(model: nn.Module, images: Tensor) -> None:
    if isinstance(model, Adapter):
        model(images)
        return
    with torch.no_grad():
        model(images)


def _timed(model: nn.Module, images: Tensor, calls: int) -> tuple[float, float]:
    """Seconds a call, by the clock and of the processor."""
    cuda = images.device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        _call(model, images)
    if cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls


def _memory(
    workload: Workload, variant: Variant, network: nn.Module, images: Tensor
) -> tuple[float | None, float | None]:
    """Peak in MiB, and the part of it that came with the images."""
    if images.device.type == "cuda":
        model = _model(network, variant)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            _call(model, images)
        peak = torch.cuda.max_memory_allocated()
        return peak / 2**20, (peak - before) / 2**20
    if not STATUS.exists():  # only Linux tells the peak of one process
        return None, None
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_memory, args=(workload, variant, sender))
    process.start()
    sender.close()
    try:
        found: tuple[float, float] = receiver.recv()
    except EOFError:
        return None, None
    finally:
        process.join()
    return found


def _measure_memory(workload: Workload, variant: Variant, sender: Any) -> None:
    """In a process of its own: what the allocator keeps of one variant must not help another."""
    network, images = workload.build()
    if variant.method is not None:
        network = adapt(
            network, variant.method, inplace=True,
            guard=TolerantGuard() if variant.guarded else False, **variant.settings,
        )  # fmt: skip
    before = _status("VmRSS")
    for _ in range(2):
        _call(network, images)
    peak = _status("VmHWM")
    sender.send((peak, peak - before))
    sender.close()


def _status(name: str) -> float:
    """A line of the process's status, in MiB."""
    lines = (line.partition(":") for line in STATUS.read_text(encoding="utf-8").splitlines())
    values = {key: text for key, _, text in lines}
    return int(values[name].split()[0]) / 1024
