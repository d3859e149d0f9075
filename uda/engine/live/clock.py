"""How long the phases of an iteration take, measured without waiting for the device."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch

OTHER = "other"


@dataclass
class _Segment:
    """A stretch of time that belongs to one phase; `name` is None until a lap tells."""

    name: str | None
    start: Any
    end: Any


class Clock:
    """Cuts the time of a run into phases that add up to the whole.

    Phases nest; the time of an inner one is not the outer one's. What no phase takes belongs to
    the next `lap`, and at the end of an iteration to "other". Between iterations the time is that
    of the phase given to `start` or `finish`.

    On CUDA a cut is an event in the device's queue, read when it has passed: times are those of the
    device, and what the host does while the device is busy counts nothing. Elsewhere it is the
    host's clock.

    Args:
        device: Where the step runs.

    >>> clock = Clock(torch.device("cpu"))
    >>> clock.start("data")
    >>> clock.begin()
    >>> clock.enter("teacher"); clock.leave(); clock.lap("mixed"); clock.finish("data")
    >>> sorted(clock.pop())
    ['data', 'iteration', 'mixed', 'other', 'teacher']
    """

    def __init__(self, device: torch.device) -> None:
        self._events = device.type == "cuda"
        self._free: list[Any] = []
        self._segments: deque[_Segment] = deque()
        self._unnamed: list[_Segment] = []
        self._stack: list[str] = []
        self._between: str | None = None
        self._last: Any = None
        self._sums: dict[str, float] = {}
        self._iterations = 0

    def start(self, name: str) -> None:
        """From now on, until `begin`, the time is that of `name`; what passed before is dropped."""
        self._settle()
        self._between, self._last = name, self._now()
        self._unnamed.clear()

    def begin(self) -> None:
        """An iteration begins."""
        self._cut()
        self._between = None
        self._iterations += 1

    def finish(self, then: str) -> None:
        """The iteration is over: what nobody named is "other", and the time is that of `then`."""
        self.lap(OTHER)
        self._between = then
        self._settle()

    def enter(self, name: str) -> None:
        """A phase begins."""
        self._cut()
        self._stack.append(name)

    def leave(self) -> None:
        """The innermost phase ends."""
        self._cut()
        self._stack.pop()

    def lap(self, name: str) -> None:
        """Give what no phase has taken since the last lap to `name`."""
        self._cut()
        for segment in self._unnamed:
            segment.name = name
        self._unnamed.clear()

    def pop(self) -> dict[str, float]:
        """Seconds of each phase in the mean iteration since the last call; nothing waits.

        "iteration" is their sum.
        """
        self._settle()
        if not self._iterations:
            return {}
        means = {name: total / self._iterations for name, total in self._sums.items()}
        self._sums, self._iterations = {}, 0
        return {"iteration": sum(means.values()), **means}

    def _cut(self) -> None:
        """End the stretch that has been running and begin another."""
        now = self._now()
        if self._last is not None:
            name = self._stack[-1] if self._stack else self._between
            segment = _Segment(name, self._last, now)
            self._segments.append(segment)
            if name is None:
                self._unnamed.append(segment)
        self._last = now

    def _settle(self) -> None:
        """Add up the stretches that are over on the device too."""
        while self._segments and self._segments[0].name is not None:
            first = self._segments[0]
            if self._events and not first.end.query():
                return
            self._segments.popleft()
            name = str(first.name)
            self._sums[name] = self._sums.get(name, 0.0) + self._seconds(first)

    def _seconds(self, segment: _Segment) -> float:
        if not self._events:
            return float(segment.end - segment.start)
        seconds = segment.start.elapsed_time(segment.end) / 1000
        # The end is the start of the next stretch and still needed; the start is not.
        self._free.append(segment.start)
        return float(seconds)

    def _now(self) -> Any:
        if not self._events:
            return time.perf_counter()
        event = self._free.pop() if self._free else torch.cuda.Event(enable_timing=True)
        event.record()
        return event
