"""How much memory a run holds."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import torch

MIB = 2**20


def used_memory(device: torch.device) -> dict[str, float]:
    """Memory in MiB: "host" of this process, "loaders" of its loader processes, "device".

    Host memory is what is resident, which Linux tells; elsewhere those two are left out. Loader
    processes share pages with this one, which count in both. "device" is the most that tensors held
    since the last line of the log, where mmengine resets torch's count; "device_reserved" what
    torch keeps of the device at the moment.

    Args:
        device: Where the step runs.
    """
    found: dict[str, float] = {}
    host = resident(os.getpid())
    if host is not None:
        found["host"] = host
        workers = [resident(child.pid or -1) for child in multiprocessing.active_children()]
        if workers:
            found["loaders"] = sum(size or 0.0 for size in workers)
    if device.type == "cuda":
        found["device"] = torch.cuda.max_memory_allocated(device) / MIB
        found["device_reserved"] = torch.cuda.memory_reserved(device) / MIB
    return found


def resident(process: int) -> float | None:
    """Resident memory of a process in MiB; None where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
