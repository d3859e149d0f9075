"""Phases of an iteration: they add up, nest, and are read only when they have passed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from uda.engine.live import clock as module
from uda.engine.live.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test sets."""
    value = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: value[0])
    return value


def iteration(clock: Clock, now: list[float]) -> None:
    """1 s of data; 2 s of source, 3 of the teacher inside 4 of mixing, 5 of mixed; 6 at the end."""
    now[0] += 1
    clock.begin()
    now[0] += 2
    clock.lap("source")
    clock.enter("mixing")
    now[0] += 1
    clock.enter("teacher")
    now[0] += 3
    clock.leave()
    now[0] += 3
    clock.leave()
    now[0] += 5
    clock.lap("mixed")
    now[0] += 6
    clock.finish("data")


WANTED = {
    "iteration": 21.0,
    "data": 1.0,
    "source": 2.0,
    "mixing": 4.0,
    "teacher": 3.0,
    "mixed": 5.0,
    "other": 6.0,
}


def test_clock_values(now: list[float]) -> None:
    """The time of an inner phase is not the outer one's; the mean of two equal iterations."""
    clock = Clock(torch.device("cpu"))
    clock.start("data")
    iteration(clock, now)
    iteration(clock, now)
    assert clock.pop() == WANTED
    assert clock.pop() == {}


def test_clock_start_values(now: list[float]) -> None:
    """What passed before a start, such as a validation, belongs to nobody."""
    clock = Clock(torch.device("cpu"))
    clock.start("data")
    iteration(clock, now)
    now[0] += 100
    clock.start("data")
    iteration(clock, now)
    assert clock.pop() == WANTED


def test_clock_pop_inside_values(now: list[float]) -> None:
    """Read in the middle, as by the log, an iteration counts; its end is the next reading's."""
    clock = Clock(torch.device("cpu"))
    clock.start("data")
    now[0] += 1
    clock.begin()
    now[0] += 2
    clock.lap("source")
    assert clock.pop() == {"iteration": 3.0, "data": 1.0, "source": 2.0}
    now[0] += 4
    clock.finish("data")
    now[0] += 1
    clock.begin()
    clock.lap("source")
    assert clock.pop() == {"iteration": 5.0, "other": 4.0, "data": 1.0, "source": 0.0}


class Event:
    """An event of a device that is behind: passed only when a test says so."""

    made = 0
    passed = 0.0
    time = 0.0

    def __init__(self, **_: Any) -> None:
        Event.made += 1
        self.at = 0.0

    def record(self) -> None:
        self.at = Event.time

    def query(self) -> bool:
        return self.at <= Event.passed

    def elapsed_time(self, other: Event) -> float:
        if not (self.query() and other.query()):
            raise RuntimeError("would wait for the device")
        return 1000 * (other.at - self.at)


def test_clock_events_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device that is behind only what has passed is read, and events are used again."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = Clock(torch.device("cuda"))
    clock.start("data")
    total = 0.0
    for number in range(40):
        Event.time += 1
        clock.begin()
        Event.time += 2
        clock.lap("source")
        Event.passed = Event.time - 4  # more than an iteration behind
        total += clock.pop().get("iteration", 0.0) if number % 8 == 7 else 0.0
        clock.finish("data")
    assert Event.made < 20
    # Means over 8 iterations. Of the 120 s, 116 had passed at the last reading, the last cut of
    # which was after 115.
    assert total == pytest.approx(115 / 8)
