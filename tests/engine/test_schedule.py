"""The learning rate at each iteration, by the formula and by a released log."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.engine.schedule import CosineLR, WarmUpPolyLR


def make(**arguments: object) -> WarmUpPolyLR:
    """The schedule over two groups with rates 6e-5 and 6e-4."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (6e-5, 6e-4)]
    return WarmUpPolyLR(torch.optim.SGD(groups), **{"end": 40_000, **arguments})  # type: ignore[arg-type]


def test_schedule_values() -> None:
    """DAFormer's released log prints 1.958e-06 at its 50th iteration (i = 49).

    6e-5 * (1 - 49/40000) * (1 - (1 - 49/1500)(1 - 1e-6)) = 6e-5 * 0.998775 * 0.0326676 = 1.9577e-6;
    afterwards it is linear: half at i = 20000, 0 at the end.
    """
    schedule = make()
    rates = []
    for _ in range(50):
        rates.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    assert f"{rates[49][0]:.3e}" == "1.958e-06"
    assert rates[49][1] == pytest.approx(10 * rates[49][0])
    assert rates[0][0] == pytest.approx(6e-5 * 1e-6)
    assert schedule.factor(20_000) == 0.5
    assert schedule.factor(1500) == pytest.approx(1 - 1500 / 40_000)
    assert schedule.factor(40_000) == schedule.factor(50_000) == 0


def test_schedule_power_values() -> None:
    """Power 0.9 without warm-up: (1 - 1/4)^0.9 after a quarter, the whole rate at first."""
    schedule = make(power=0.9, warmup=0)
    assert schedule.factor(0) == 1
    assert schedule.factor(10_000) == pytest.approx(0.75**0.9)


@settings(deadline=None)
@given(end=st.integers(1, 1000), warmup=st.integers(0, 1000), power=st.floats(0.1, 2))
def test_schedule_properties(end: int, warmup: int, power: float) -> None:
    """Factors lie in [0, 1] and fall after the warm-up."""
    schedule = make(end=end, warmup=warmup, power=power)
    factors = [schedule.factor(i) for i in range(end + 1)]
    assert 0 <= min(factors) <= max(factors) <= 1
    after = factors[warmup:]
    assert after == sorted(after, reverse=True)


def test_schedule_resume() -> None:
    """Saved after 30 steps and loaded into a fresh one, the rates go on the same."""
    straight, first, second = make(), make(), make()
    for _ in range(30):
        for schedule in (straight, first):
            schedule.optimizer.step()
            schedule.step()
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    for schedule in (straight, second):
        schedule.optimizer.step()
        schedule.step()
    rates = [[g["lr"] for g in s.optimizer.param_groups] for s in (straight, second)]
    assert rates[0] == rates[1]


def test_schedule_errors() -> None:
    """Epochs and numbers out of range are refused."""
    with pytest.raises(ValueError, match="counts iterations: set by_epoch=False"):
        make(by_epoch=True)
    with pytest.raises(ValueError, match="end has to be > 0 and warmup >= 0, not 0 and 1500"):
        make(end=0)
    with pytest.raises(ValueError, match="not 40000 and -1"):
        make(warmup=-1)


def test_resume_with_more_iterations_values() -> None:
    """The curve is that of the new config: half of the base rate at iteration 10 of 20."""
    short, long = (
        WarmUpPolyLR(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0), end=end, warmup=0)
        for end in (10, 20)
    )
    for _ in range(9):
        short.step()
    long.load_state_dict(short.state_dict())
    long.step()
    assert long.last_step == 10
    assert long.optimizer.param_groups[0]["lr"] == pytest.approx(0.5)


def cosine(**arguments: object) -> CosineLR:
    """The cosine over two groups with rates 3e-6 and 3e-5."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (3e-6, 3e-5)]
    return CosineLR(torch.optim.SGD(groups), **{"end": 100, **arguments})  # type: ignore[arg-type]


def test_cosine_values() -> None:
    """The base rate at first, the mean of base and floor at half, the floor at the end."""
    schedule = cosine(floor=1e-6)
    rates = []
    for _ in range(101):
        rates.append([group["lr"] for group in schedule.optimizer.param_groups])
        schedule.optimizer.step()
        schedule.step()
    assert rates[0] == [3e-6, 3e-5]
    assert rates[50] == pytest.approx([2e-6, 15.5e-6])
    assert rates[100] == pytest.approx([1e-6, 1e-6])
    assert schedule.rate(3e-5, 200) == pytest.approx(1e-6)


def test_cosine_period_values() -> None:
    """IAST's 2 of 3 epochs end at a quarter: cos(2 pi / 3) = -1/2. A short period starts anew."""
    assert cosine(period=150).rate(1.0, 100) == pytest.approx(0.25)
    restarts = cosine(period=40)
    assert restarts.rate(1.0, 39) < 0.01
    assert restarts.rate(1.0, 40) == 1
    assert restarts.rate(1.0, 60) == pytest.approx(0.5)


@settings(deadline=None)
@given(end=st.integers(1, 500), period=st.none() | st.integers(1, 500), floor=st.floats(0, 1e-6))
def test_cosine_properties(end: int, period: int | None, floor: float) -> None:
    """Rates lie between floor and base."""
    schedule = cosine(end=end, period=period, floor=floor)
    rates = [schedule.rate(3e-5, i) for i in range(end + 1)]
    assert floor * (1 - 1e-9) <= min(rates) <= max(rates) <= 3e-5 * (1 + 1e-9)


def test_cosine_resume() -> None:
    """Saved after 30 steps and loaded into a fresh one with a longer run, its place is kept."""
    first, second = cosine(), cosine(end=200)
    for _ in range(30):
        first.step()
    second.load_state_dict(first.state_dict())
    second.step()
    assert second.last_step == 31
    assert second.optimizer.param_groups[0]["lr"] == pytest.approx(second.rate(3e-6, 31))


def test_cosine_errors() -> None:
    """Epochs and numbers out of range are refused."""
    with pytest.raises(ValueError, match="CosineLR counts iterations: set by_epoch=False"):
        cosine(by_epoch=True)
    for arguments, told in (
        ({"end": 0}, "0, None and 0"),
        ({"period": 0}, "100, 0 and 0"),
        ({"floor": -1}, "100, None and -1"),
    ):
        with pytest.raises(ValueError, match=rf"floor >= 0, not {told}"):
            cosine(**arguments)
