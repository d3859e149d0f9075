"""What a long run holds on to: a hook that notes it, and how its notes are read."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from statistics import median
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

FIELDS = (
    "iteration",
    "memory",
    "worker_memory",
    "files",
    "worker_files",
    "workers",
    "saved",
    "stored",
)
Notes = list[dict[str, int]]


@HOOKS.register_module()
class Watch(Hook):
    """Notes memory, open files and loader processes of a run; Linux only.

    Args:
        file: Where the notes go; outside of the run's folder.
        interval: Iterations between two notes.
    """

    priority = "LOWEST"

    def __init__(self, *, file: str, interval: int) -> None:
        self.file, self.interval = Path(file), interval

    def before_train(self, runner: Any) -> None:
        """Begin the file."""
        self.file.write_text(",".join(FIELDS) + "\n", encoding="utf-8")

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Add a line, if it is time."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        own, workers = os.getpid(), children(os.getpid())
        note = (
            runner.iter + 1,
            resident(own),
            sum(map(resident, workers)),
            open_files(own),
            sum(map(open_files, workers)),
            len(workers),
            *saved(Path(runner.work_dir)),
        )
        with self.file.open("a", encoding="utf-8") as file:
            file.write(",".join(map(str, note)) + "\n")


def saved(folder: Path) -> tuple[int, int]:
    """Number and KiB of the checkpoints of a run's folder, those of networks to deploy included."""
    checkpoints = list(folder.glob("iter_*.pth"))
    sizes = [path.stat().st_size for path in (*checkpoints, *folder.glob("deploy/*.pth"))]
    return len(checkpoints), sum(sizes) // 1024


def resident(process: int) -> int:
    """Resident memory of a process in KiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def open_files(process: int) -> int:
    """Number of open file descriptors of a process."""
    return len(os.listdir(f"/proc/{process}/fd"))


def children(process: int) -> list[int]:
    """Processes that any thread of a process has started and that are still there."""
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return sorted(int(child) for thread in threads for child in thread.read_text().split())


def read_notes(file: Path) -> Notes:
    """The lines of `Watch`."""
    with file.open(encoding="utf-8", newline="") as lines:
        return [{key: int(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def middle(notes: Notes, field: str, first: int, last: int) -> float:
    """Median of a field over the iterations after `first` up to `last`."""
    return median(note[field] for note in notes if first < note["iteration"] <= last)


def growth(notes: Notes, field: str, early: tuple[int, int], late: tuple[int, int]) -> float:
    """By how much the median of a late window is above that of an early one."""
    return middle(notes, field, *late) - middle(notes, field, *early)
