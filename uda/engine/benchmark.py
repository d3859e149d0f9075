"""Timing the training step of a config, without loading of files."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

import uda.engine  # noqa: F401 - registers everything
from uda.engine.host_memory import keep_freed_memory
from uda.engine.live.phase_watch import PhaseWatch
from uda.engine.step_phases import (
    ProcessorClock,
    count_operations,
    measured_peak,
    phase_shares,
)
from uda.structures import Batch, Labelled, Unlabelled

_PRECISIONS = {"BFloat16OptimWrapper": torch.bfloat16, "AmpOptimWrapper": torch.float16}


@dataclass(frozen=True)
class StepTimes:
    """What one training step costs.

    Attributes:
        wall_s: Median seconds an iteration.
        wall_min_s: Fastest iteration.
        wall_max_s: Slowest iteration.
        cpu_s: Median processor seconds of the process an iteration, all threads.
        cpu_min_s: Least of them.
        cpu_max_s: Most of them.
        iterations_per_s: 1 over `wall_s`.
        images_per_s: Source and target images an iteration over `wall_s`.
        peak_memory_mb: Most memory held, in MiB: of the device on CUDA, else of the process; None
            on a CPU under Windows, which does not tell.
        peak_host_mb: Most memory the process held, in MiB; None under Windows.
        operations: Floating-point operations of an iteration, see `count_operations`.
        peak_share: Their number a second over what the machine's arithmetic can do at most, see
            `measured_peak`; of processor time on a CPU.
        peak_gflops: That most, in 10^9 a second; on a CPU of one processor.
        iterations: How many were timed.
        batch_size: Images of each domain.
        crop: Height and width in pixels.
        threads: Threads torch uses on the CPU.
        device: Name of the device.
        phases: Share of each phase in the time of an iteration: `batch` normalises what a loader
            gives; `source`, `mixed` and others are the student's passes forward and backward;
            `teacher`, `selector`, `mixing`, `ema`, `optimiser`; losses of terms by their name.
            Shares are of processor time on a CPU, of the device's time on CUDA.
    """

    wall_s: float
    wall_min_s: float
    wall_max_s: float
    cpu_s: float
    cpu_min_s: float
    cpu_max_s: float
    iterations_per_s: float
    images_per_s: float
    peak_memory_mb: float | None
    peak_host_mb: float | None
    operations: int
    peak_share: float
    peak_gflops: float
    iterations: int
    batch_size: int
    crop: tuple[int, int]
    threads: int
    device: str
    phases: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


def time_step(
    config: Config,
    *,
    batch_size: int | None = None,
    crop: tuple[int, int] | None = None,
    iterations: int = 5,
    warm_up: int = 2,
) -> StepTimes:
    """Time training steps of a config on random images.

    Args:
        config: From `load_config`.
        batch_size: Images of each domain; None takes the config's.
        crop: Height and width in pixels; None takes the size of the config's preprocessor.
        iterations: Timed iterations.
        warm_up: Iterations before them.
    """
    device = torch.device(get_device())
    if device.type == "cpu":
        keep_freed_memory()  # as a run does
    height, width = crop or tuple(config.model.data_preprocessor["size"])
    if crop is not None:
        config.model.data_preprocessor["size"] = crop
    model: Any = MODELS.build(dict(config.model)).to(device)
    model.init_weights()
    model.train()
    wrapper = build_optim_wrapper(model, dict(config.optim_wrapper))
    images = batch_size or config.train_dataloader.batch_size
    adapting = config.train_dataloader.dataset.get("target") is not None
    data = random_data(images, (height, width), model.num_classes, adapting=adapting)
    data["further"] = [data] * model.method.further_batches
    clock = ProcessorClock(device)

    def step() -> None:
        model.train_step(data, wrapper)

    walls, cpus = _time(step, device, warm_up, iterations, _watched(model, clock))
    peak_device, peak_host = _peak_memory_mb(device), _peak_host_mb()
    operations = count_operations(step)
    precision = _PRECISIONS.get(str(config.optim_wrapper.get("type")), torch.float32)
    peak = measured_peak(device, precision)
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    return StepTimes(
        wall_s=wall,
        wall_min_s=min(walls),
        wall_max_s=max(walls),
        cpu_s=cpu,
        cpu_min_s=min(cpus),
        cpu_max_s=max(cpus),
        iterations_per_s=1 / wall,
        images_per_s=images * (2 if adapting else 1) / wall,
        peak_memory_mb=peak_device if device.type == "cuda" else peak_host,
        peak_host_mb=peak_host,
        operations=operations,
        peak_share=operations / (cpu if device.type == "cpu" else wall) / peak,
        peak_gflops=peak / 1e9,
        iterations=iterations,
        batch_size=images,
        crop=(height, width),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        phases=phase_shares(clock),
    )


def _watched(model: Any, clock: ProcessorClock) -> Callable[[bool], None]:
    """A function that is called with True before each timed step and with False after it."""

    def watch(begins: bool) -> None:
        if begins:
            model.live = PhaseWatch(clock)
            clock.start("")
            clock.begin()
        else:
            clock.finish("")
            model.live = None

    return watch


def random_batch(
    images: int, size: tuple[int, ...], num_classes: int, device: torch.device, *, adapting: bool
) -> Batch:
    """A batch of noise with blocky labels, the same for the same arguments."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, images, 3, *size, generator=generator).to(device)
    label = _blocks(images, size, num_classes, generator).to(device)
    return Batch(Labelled(pixels[0], label), Unlabelled(pixels[1]) if adapting else None)


def random_data(
    images: int, size: tuple[int, int], num_classes: int, *, adapting: bool
) -> dict[str, Any]:
    """The same as a loader gives it: images of bytes, and samples with their labels."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (2, images, 3, *size), generator=generator).to(torch.uint8)
    labels = _blocks(images, size, num_classes, generator)
    labelled = [SegDataSample(gt_sem_seg=PixelData(data=label[None])) for label in labels]
    found: dict[str, Any] = {"source": {"inputs": list(pixels[0]), "data_samples": labelled}}
    if adapting:
        plain = [SegDataSample() for _ in range(images)]
        found["target"] = {"inputs": list(pixels[1]), "data_samples": plain}
    return found


def _blocks(
    images: int, size: tuple[int, ...], num_classes: int, generator: torch.Generator
) -> Tensor:
    height, width = size
    coarse = torch.randint(
        num_classes, (images, 1, height // 32, width // 32), generator=generator
    ).float()
    return torch.nn.functional.interpolate(coarse, (height, width)).long().squeeze(1)


def _time(
    step: Callable[[], Mapping[str, Any] | None],
    device: torch.device,
    warm_up: int,
    iterations: int,
    watch: Callable[[bool], None],
) -> tuple[list[float], list[float]]:
    walls, cpus = [], []
    for number in range(warm_up + iterations):
        if number >= warm_up:
            watch(True)
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= warm_up:
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            watch(False)
    return walls, cpus


def _peak_memory_mb(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None


def _peak_host_mb() -> float | None:
    try:
        import resource  # Unix only
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
