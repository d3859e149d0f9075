"""Timing the training step of a config, without data loading."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmseg.registry import MODELS

import uda.engine  # noqa: F401 - registers everything
from uda.structures import Batch, Labelled, Unlabelled


@dataclass(frozen=True)
class StepTimes:
    """What one training step costs.

    Attributes:
        wall_s: Median seconds an iteration.
        wall_min_s: Fastest iteration.
        wall_max_s: Slowest iteration.
        cpu_s: Median processor seconds of the process an iteration, all threads.
        images_per_s: Source and target images an iteration over `wall_s`.
        peak_memory_mb: Most memory held, in MiB: of the device on CUDA, else of the process; None
            on a CPU under Windows, which does not tell.
        threads: Threads torch uses on the CPU.
        device: Name of the device.
    """

    wall_s: float
    wall_min_s: float
    wall_max_s: float
    cpu_s: float
    images_per_s: float
    peak_memory_mb: float | None
    threads: int
    device: str

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
    model: Any = MODELS.build(dict(config.model)).to(device)
    model.init_weights()
    model.train()
    wrapper = build_optim_wrapper(model, dict(config.optim_wrapper))
    size = crop or tuple(config.model.data_preprocessor["size"])
    images = batch_size or config.train_dataloader.batch_size
    adapting = config.train_dataloader.dataset.get("target") is not None
    batch = random_batch(images, size, model.num_classes, device, adapting=adapting)
    further = [batch] * model.method.further_batches
    from uda.engine.model import RunnerOptimiser
    from uda.engine.number_watch import NumberWatch

    optimiser = RunnerOptimiser(wrapper, model, average=None, watch=NumberWatch())
    walls, cpus = _time(
        lambda: model.method.training_step(batch, optimiser, further),
        device,
        iterations,
        warm_up,
    )
    wall = statistics.median(walls)
    return StepTimes(
        wall_s=wall,
        wall_min_s=min(walls),
        wall_max_s=max(walls),
        cpu_s=statistics.median(cpus),
        images_per_s=images * (2 if adapting else 1) / wall,
        peak_memory_mb=_peak_memory_mb(device),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if device.type == "cuda" else device.type,
    )


def random_batch(
    images: int, size: tuple[int, ...], num_classes: int, device: torch.device, *, adapting: bool
) -> Batch:
    """A batch of noise with blocky labels, the same for the same arguments."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    pixels = torch.randn(2, images, 3, height, width, generator=generator).to(device)
    coarse = torch.randint(
        num_classes, (images, 1, height // 32, width // 32), generator=generator
    ).float()
    label = torch.nn.functional.interpolate(coarse, (height, width)).long().squeeze(1).to(device)
    return Batch(Labelled(pixels[0], label), Unlabelled(pixels[1]) if adapting else None)


def _time(
    step: Callable[[], Mapping[str, Any]], device: torch.device, iterations: int, warm_up: int
) -> tuple[list[float], list[float]]:
    walls, cpus = [], []
    for number in range(warm_up + iterations):
        wall, cpu = time.perf_counter(), time.process_time()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if number >= warm_up:
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
    return walls, cpus


def _peak_memory_mb(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource  # Unix only
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
