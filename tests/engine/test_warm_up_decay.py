"""The schedules of VFM-UDA: hand-derived values, their jump, resume."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.engine.warm_up_decay import WarmUpDecayLR


def make(**arguments: Any) -> WarmUpDecayLR:
    """The schedule over two groups with rates 1e-4 and 1e-5."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1e-4, 1e-5)]
    return WarmUpDecayLR(torch.optim.SGD(groups), **{"end": 40_000, **arguments})


def test_schedule_values() -> None:
    """The released linear one: linspace(0.001, 1, 1500), then 1 - i / 40000, which jumps.

    Iteration 0 has 0.001, iteration 1499 has 1, iteration 1500 has 1 - 1500/40000 = 0.9625.
    """
    schedule = make()
    assert schedule.factor(0) == pytest.approx(0.001)
    assert schedule.factor(1499) == pytest.approx(1)
    assert schedule.factor(1500) == pytest.approx(0.9625)
    assert schedule.factor(20_000) == pytest.approx(0.5)
    assert schedule.factor(40_000) == schedule.factor(50_000) == 0
    assert [group["lr"] for group in schedule.optimizer.param_groups] == [
        pytest.approx(1e-7),
        pytest.approx(1e-8),
    ]


def test_schedule_without_jump_values() -> None:
    """Counted from the end of the warm-up, iteration 1499 and 1500 both have 1."""
    schedule = make(decay_from="warmup")
    assert schedule.factor(1500) == 1
    assert schedule.factor(1500 + 38_500 // 2) == pytest.approx(0.5)
    cosine = make(decay="cosine", decay_from="warmup", final=0.2)
    assert cosine.factor(1500 + 38_500 // 2) == pytest.approx(0.6)
    assert cosine.factor(40_000) == pytest.approx(0.2)
    assert make(warmup=0).factor(0) == 1
    assert make(warmup=1, start=0.5).factor(0) == 0.5


@settings(deadline=None)
@given(
    end=st.integers(1, 300),
    warmup=st.integers(0, 300),
    decay=st.sampled_from(["linear", "cosine"]),
    decay_from=st.sampled_from(["start", "warmup"]),
)
def test_schedule_properties(end: int, warmup: int, decay: str, decay_from: str) -> None:
    """Factors lie in [0, 1], rise during the warm-up and fall after it."""
    schedule = make(end=end, warmup=warmup, decay=decay, decay_from=decay_from)
    factors = [schedule.factor(i) for i in range(end + 1)]
    assert 0 <= min(factors) <= max(factors) <= 1 + 1e-12
    before, after = factors[:warmup], factors[warmup:]
    assert before == sorted(before)
    assert all(b <= a + 1e-12 for a, b in zip(after, after[1:], strict=False))


def test_schedule_resume() -> None:
    """Saved after 30 steps and loaded into a fresh one, the rates go on the same."""
    straight, first, second = (make(warmup=20, end=60) for _ in range(3))
    for _ in range(30):
        straight.step()
        first.step()
    second.load_state_dict(first.state_dict())
    straight.step()
    second.step()
    rates = [[g["lr"] for g in s.optimizer.param_groups] for s in (straight, second)]
    assert rates[0] == rates[1]


WRONG = [
    ({"by_epoch": True}, "WarmUpDecayLR counts iterations: set by_epoch=False"),
    ({"decay": "poly"}, 'decay has to be "linear" or "cosine"'),
    ({"decay_from": "end"}, 'decay_from has to be "start" or "warmup"'),
    ({"end": 0}, "end has to be > 0, warmup >= 0, start and final shares"),
    ({"final": 2.0}, "start and final shares in"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_schedule_errors(arguments: dict[str, Any], message: str) -> None:
    """Each wrong setting is told."""
    with pytest.raises(ValueError, match=message):
        make(**arguments)
