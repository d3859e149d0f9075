"""Numbers that are none: found on the device, with their first iteration."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uda.engine.number_watch import GRADIENT, Finding, NumberWatch, finite_gradients

NAN, INF = torch.tensor(float("nan")), torch.tensor(-float("inf"))
ONE = torch.tensor(1.0)


def parameter(gradient: float | None) -> nn.Parameter:
    """A weight with a gradient."""
    made = nn.Parameter(torch.zeros(3))
    made.grad = None if gradient is None else torch.tensor([0.0, gradient, 1.0])
    return made


def test_look_values() -> None:
    """The first iteration is kept, whatever comes later; after a look it starts afresh."""
    watch = NumberWatch()
    watch.record({"source/ce": ONE, "mixed/ce": ONE}, 1)
    watch.record({"source/ce": ONE, "mixed/ce": INF}, 2)
    watch.record({"source/ce": NAN, "mixed/ce": NAN}, 3)
    assert watch.look() == Finding(2, ["mixed/ce"])
    assert watch.look() is None
    watch.record({"source/ce": NAN, "mixed/ce": ONE}, 4)
    assert watch.look() == Finding(4, ["source/ce"])


def test_other_names_values() -> None:
    """A method may make other passes in some iterations; nothing is forgotten then."""
    watch = NumberWatch()
    watch.record({"a": NAN}, 1)
    watch.record({"a": ONE, "b": ONE}, 2)
    assert watch.look() == Finding(1, ["a"])
    watch.record({}, 3)
    assert watch.look() is None


def test_gradient_values() -> None:
    """The gradient is named too; only a watch before the step refuses it."""
    for before_step in (False, True):
        watch = NumberWatch(before_step=before_step)
        watch.begin()
        assert watch.allows([parameter(1.0)])
        watch.record({"loss": ONE}, 1)
        assert watch.look() is None
        watch.begin()
        assert watch.allows([parameter(1.0), parameter(float("nan"))]) is not before_step
        assert watch.refused is before_step
        watch.record({"loss": ONE}, 2)
        assert watch.look() == Finding(2, [GRADIENT])
        watch.begin()
        assert watch.refused is False


def test_nothing_waits_properties() -> None:
    """On tensors without values everything works but the look."""
    watch = NumberWatch()
    watch.begin()
    weight = nn.Parameter(torch.zeros(3, device="meta"))
    weight.grad = torch.zeros(3, device="meta")
    assert watch.allows([weight])
    for iteration in (1, 2):
        watch.record({"loss": torch.zeros((), device="meta")}, iteration)
    with pytest.raises((RuntimeError, NotImplementedError)):
        watch.look()


@pytest.mark.parametrize(
    ("gradients", "finite"),
    [
        ([1.0, None], True),
        ([None], True),
        ([3e38, -3e38], True),  # their sum of squares would overflow
        ([1.0, float("inf")], False),
        ([float("nan"), 1.0], False),
    ],
    ids=["some", "none", "large", "infinite", "nan"],
)
def test_finite_gradients_values(gradients: list[float | None], finite: bool) -> None:
    assert bool(finite_gradients([parameter(g) for g in gradients])) is finite
