"""Phases, operations and the peak of a machine."""

from __future__ import annotations

import time

import pytest
import torch
import torch.nn.functional as F

from uda import watching
from uda.engine.live.phase_watch import PhaseWatch
from uda.engine.step_phases import (
    ProcessorClock,
    count_operations,
    measured_peak,
    phase_shares,
)


def busy(seconds: float) -> None:
    """Use the processor."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_phases_values() -> None:
    """A third of the time in the phase, the rest in the pass; sleep counts nothing."""
    clock = ProcessorClock(torch.device("cpu"))
    clock.start("")
    clock.begin()
    with watching.watched_by(PhaseWatch(clock)):
        with watching.phase("teacher"):
            busy(0.05)
            time.sleep(0.2)
        busy(0.1)
        watching.lap("mixed")
        with watching.aside("look_ahead"), watching.phase("teacher"):
            busy(0.15)
    clock.finish("")
    shares = phase_shares(clock)
    assert list(shares)[:3] == ["look_ahead", "mixed", "teacher"]
    assert shares["teacher"] == pytest.approx(1 / 6, abs=0.03)
    assert shares["look_ahead"] == pytest.approx(1 / 2, abs=0.05)
    assert phase_shares(clock) == {}


def test_operations_values() -> None:
    """2 K for each of M N results of a product; 2 * 9 * 3 for each of the 4 * 25 of a convolution.

    The backward pass of a convolution costs the same twice.
    """
    assert count_operations(lambda: torch.ones(2, 3) @ torch.ones(3, 5)) == 2 * 3 * 2 * 5
    image = torch.ones(1, 3, 5, 5, requires_grad=True)
    kernel = torch.ones(4, 3, 3, 3, requires_grad=True)
    once = 2 * 9 * 3 * 4 * 25
    assert count_operations(lambda: F.conv2d(image, kernel, padding=1)) == once
    assert count_operations(lambda: F.conv2d(image, kernel, padding=1).sum().backward()) == 3 * once


def test_operations_of_depthwise_convolutions_values() -> None:
    """One channel a group: 2 * 9 for each of the 4 * 25, and twice that backward."""
    image = torch.ones(1, 4, 5, 5, requires_grad=True)
    kernel = torch.ones(4, 1, 3, 3, requires_grad=True)

    def step() -> None:
        F.conv2d(image, kernel, padding=1, groups=4).sum().backward()

    assert count_operations(step) == 3 * 2 * 9 * 4 * 25


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_properties(dtype: torch.dtype) -> None:
    """More than a billion operations a second, on whatever runs this."""
    assert measured_peak(torch.device("cpu"), dtype, repeats=1) > 1e9
