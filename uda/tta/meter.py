"""How long calls take, and how much memory."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Iterator

import torch


class Meter:
    """Wall time of the last calls, and peak memory.

    On CUDA a call is timed without waiting for the device, unless `wait`: then it is the time until
    the result is there, and the calls are slower by the waiting.

    Args:
        window: Calls that the percentiles are of.
        wait: Wait for the device after each call.
    """

    def __init__(self, *, window: int = 1000, wait: bool = False) -> None:
        self.times: deque[float] = deque(maxlen=window)
        self.wait, self.calls = wait, 0

    @contextlib.contextmanager
    def call(self, device: torch.device) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        if self.wait and device.type == "cuda":
            torch.cuda.synchronize(device)
        self.times.append(time.perf_counter() - start)
        self.calls += 1

    def latency(self) -> dict[str, float | None]:
        """Median and 95th percentile of the window, in milliseconds; None without a call."""
        ordered = sorted(self.times)
        return {
            "latency_p50_ms": _percentile(ordered, 0.5),
            "latency_p95_ms": _percentile(ordered, 0.95),
        }


def _percentile(ordered: list[float], share: float) -> float | None:
    """The value that this share of the values does not exceed."""
    if not ordered:
        return None
    return 1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def peak_memory(device: torch.device) -> float | None:
    """Highest memory so far in MiB: tensors on CUDA, the whole process on a CPU; None unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows has no such counter
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
