"""The share of each phase of a training step, and what a machine's arithmetic could do."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from uda.engine.live.clock import Clock


class ProcessorClock(Clock):
    """A clock of phases that, on a CPU, counts processor time: other programs do not add to it."""

    def _now(self) -> Any:
        return super()._now() if self._events else time.process_time()


def phase_shares(clock: Clock) -> dict[str, float]:
    """The share of each phase in the iterations since the last call, the largest first."""
    seconds = clock.pop()
    total = seconds.pop("iteration", 0.0)
    ordered = sorted(seconds.items(), key=lambda item: -item[1])
    return {name: value / total for name, value in ordered} if total else {}


def count_operations(step: Callable[[], object]) -> int:
    """Floating-point operations of matrix products, convolutions and attention while `step` runs.

    A multiplication and an addition are two. What is done to each entry alone, such as norms and
    activations, is not counted, nor is attention that a torch has no formula for.

    >>> left, right = torch.ones(2, 3), torch.ones(3, 4)
    >>> count_operations(lambda: left @ right)
    48
    """
    mapping = {torch.ops.aten.convolution_backward: _convolution_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        step()
    return int(counter.get_total_flops())


def _convolution_backward(
    grad: Sequence[int],
    image: Sequence[int],
    weight: Sequence[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    wanted: Sequence[bool],
    out_shape: Any = None,
) -> int:
    """Torch's own count leaves out that a depth-wise convolution has one channel a group."""
    places = math.prod(image if transposed else grad)
    return 2 * places * math.prod(weight[1:]) * (int(wanted[0]) + int(wanted[1]))


def measured_peak(device: torch.device, dtype: torch.dtype, *, repeats: int = 5) -> float:
    """Operations a second of the faster of a large matrix product and a 3x3 convolution.

    Both, because the libraries behind them differ: MKL's matrix product in 32 bits runs at half the
    speed of oneDNN's convolution on a CPU of AMD. On a CPU the second is one of processor time, on
    CUDA one of the clock on the wall.

    Args:
        device: Where to measure.
        dtype: Of the numbers.
        repeats: Of each measurement, of which the median counts.
    """
    side, maps = (1024, 16) if device.type == "cpu" else (8192, 64)
    left, right = (torch.ones(side, side, device=device, dtype=dtype) for _ in range(2))
    image = torch.ones(1, 256, maps, maps, device=device, dtype=dtype)
    kernel = torch.ones(256, 256, 3, 3, device=device, dtype=dtype)
    works: list[Callable[[], Tensor]] = [
        lambda: left @ right,
        lambda: F.conv2d(image, kernel, padding=1),
    ]
    speeds = []
    with torch.no_grad():
        for work in works:
            operations = count_operations(work)
            times = [_seconds(work, device) for _ in range(repeats)]
            speeds.append(operations / statistics.median(times))
    return max(speeds)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        start = time.process_time()
        work()
        return max(time.process_time() - start, 1e-9)
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start
