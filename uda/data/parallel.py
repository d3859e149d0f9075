"""Results of a function over many items, from worker processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import BaseContext
from typing import TypeVar

# Fewer items than this are done here in less time than processes need to start.
FEWEST_ITEMS = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int
) -> Iterator[Result]:
    """Results in the order of the items, each as soon as it and its forerunners are done.

    Worker processes do not fork from this one: a copy of a process with running threads (torch,
    OpenCV, a progress bar) can hang for ever. So the calling script needs the usual
    ``if __name__ == "__main__":`` when `workers` is above 1.

    Args:
        function: Picklable; an exception in it is raised here, and the rest is not started.
        items: Picklable.
        workers: Processes; with 1, or fewer than 16 items, everything runs in this one.

    Example:
        >>> list(parallel_map(abs, [-1, 2], workers=1))
        [1, 2]
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if workers == 1 or len(items) < FEWEST_ITEMS:
        yield from map(function, items)
        return
    chunk = max(1, min(16, len(items) // (4 * workers)))
    with ProcessPoolExecutor(
        min(workers, len(items)), mp_context=_context(), initializer=_leave_interrupt_to_parent
    ) as pool:
        try:
            yield from pool.map(function, items, chunksize=chunk)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _context() -> BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # Imported once in the server, not once in every worker.
    context.set_forkserver_preload(["uda.data.label_conversion"])
    return context


def _leave_interrupt_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
