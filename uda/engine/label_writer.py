"""Labels written to the disk while the network predicts the next images."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from uda.files import write_atomically

# Labels that may wait; a disk slower than the network holds the network up, not the memory.
_WAITING = 64


class LabelWriter:
    """Writes PNG files in a thread of its own, in the order in which they were given.

    Compressing and writing need no interpreter lock, and flushing to the disk is nothing but
    waiting. An error of the thread comes out of the next call.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, LabelWriter() as writer:
    ...     writer.write(Path(folder) / "a.png", np.zeros((2, 2), np.uint8))
    ...     writer.wait()
    ...     cv2.imread(str(Path(folder) / "a.png"), cv2.IMREAD_UNCHANGED).tolist()
    [[0, 0], [0, 0]]
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="labels")
        self._waiting: deque[Future[None]] = deque()

    def write(self, path: Path, label: NDArray[np.uint8]) -> None:
        """Have a label (H, W) written; it must not be changed any more.

        Raises:
            OSError: This one is not written because an earlier one could not be.
        """
        self._check(_WAITING - 1)
        self._waiting.append(self._thread.submit(_write, path, label))

    def wait(self) -> None:
        """Return once everything is on the disk.

        Raises:
            OSError: A label could not be written.
        """
        self._check(0)

    def __enter__(self) -> LabelWriter:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread; what waits is dropped after an error and written without one."""
        self._thread.shutdown(cancel_futures=error is not None)
        if error is None:
            self.wait()

    def _check(self, allowed: int) -> None:
        """Raise what went wrong, and wait until no more than `allowed` labels wait."""
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > allowed):
            self._waiting.popleft().result()


def _write(path: Path, label: NDArray[np.uint8]) -> None:
    write_atomically(path, bytes(cv2.imencode(".png", label)[1]))
