"""How far a stream is, on standard error: one line that changes, or in a log one now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO


class ProgressLine:
    """Tells how many images of how many are done, and how many a second.

    On a terminal one line is written anew; elsewhere a line comes every `every` seconds, so that a
    log of hours stays short.

    Args:
        total: Images; None: nobody knows.
        what: What is told.
        every: Seconds between lines; on a terminal a tenth of a second.
        file: Where it is written; None: standard error.
        clock: Seconds of any start.

    >>> line = ProgressLine(8, "fog", every=1, file=sys.stdout, clock=iter([0, 2, 4]).__next__)
    >>> line(4, "3.5 % mIoU")
    fog: 4 of 8 images, 2.0 a second, 3.5 % mIoU
    >>> line(8)
    fog: 8 of 8 images, 2.0 a second
    """

    def __init__(
        self,
        total: int | None,
        what: str,
        *,
        every: float = 30.0,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.what, self.file, self.clock = total, what, file or sys.stderr, clock
        self.terminal = self.file.isatty()
        self.every = 0.1 if self.terminal else every
        self.start = self.told = clock()
        self._longest = 0

    def __call__(self, done: int, more: str = "") -> None:
        """Tell, if it is time."""
        now = self.clock()
        if now - self.told < self.every and done != self.total:
            return
        self.told = now
        of = "" if self.total is None else f" of {self.total}"
        speed = done / max(now - self.start, 1e-9)
        line = f"{self.what}: {done}{of} images, {speed:.1f} a second{', ' * bool(more)}{more}"
        if self.terminal:
            self._longest = max(self._longest, len(line))
            print(f"\r{line:{self._longest}}", end="", file=self.file, flush=True)
        else:
            print(line, file=self.file, flush=True)

    def close(self) -> None:
        """Make room for what is printed next."""
        if self.terminal and self._longest:
            print(f"\r{'':{self._longest}}\r", end="", file=self.file, flush=True)
