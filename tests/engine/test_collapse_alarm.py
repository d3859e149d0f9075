"""The alarm over degenerate pseudo-labels: when it warns, when not, and that it counts on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from uda.engine import collapse_alarm
from uda.engine.collapse_alarm import CollapseAlarm
from uda.engine.hooks import DeviceLogger
from uda.engine.log import DeviceScalars
from uda.selftraining.health import largest_class_share
from uda.structures import PseudoLabel

WEIGHT, LARGEST = "mixed/pseudo_weight", "mixed/largest_class"
FINE = {WEIGHT: 0.5, LARGEST: 0.4}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is warned of."""
    texts: list[str] = []
    monkeypatch.setattr(collapse_alarm, "print_log", lambda text, **_: texts.append(text))
    return texts


def make_runner(hook: CollapseAlarm, iterations: int = 200) -> Any:
    """As much of a Runner as the hook uses; a log line every tenth iteration."""
    scalars: list[tuple[str, float]] = []
    hub = SimpleNamespace(update_scalar=lambda name, value: scalars.append((name, value)))
    return SimpleNamespace(
        hooks=[DeviceLogger(interval=10), hook],
        model=SimpleNamespace(log=DeviceScalars()),
        max_iters=iterations,
        message_hub=hub,
        scalars=scalars,
        cfg={"resume": True},
        iter=0,
    )


def train(runner: Any, hook: CollapseAlarm, means: list[dict[str, float]], start: int = 0) -> None:
    """One interval for each dict of means."""
    for number, values in enumerate(means):
        runner.model.log.add({name: torch.tensor(value) for name, value in values.items()})
        for iteration in range(10 * (start + number), 10 * (start + number + 1)):
            runner.iter = iteration
            hook.after_train_iter(runner, iteration)


@pytest.mark.parametrize(
    ("means", "sentence"),
    [
        ({WEIGHT: 0.5, LARGEST: 0.995}, "99.5% of the pseudo-labels are of one class"),
        ({WEIGHT: 0.0, LARGEST: 0.4}, "a mean weight of 0.0000: the target is not used"),
        ({WEIGHT: 1.0, LARGEST: 0.4}, "a mean weight of 1.0000: nothing is rejected"),
    ],
    ids=["one class", "none", "all"],
)
def test_alarm_values(said: list[str], means: dict[str, float], sentence: str) -> None:
    """Each state warns when it has lasted for thirty iterations, and again after sixty."""
    hook = CollapseAlarm(patience=30)
    runner = make_runner(hook)
    train(runner, hook, [means] * 2 + [FINE] + [means] * 7)
    assert [text.partition(":")[0] for text in said] == [
        "Collapse alarm at iteration 60",
        "Collapse alarm at iteration 90",
    ]
    assert said[0].startswith("Collapse alarm at iteration 60: for 30 iterations ")
    assert sentence in said[0]
    assert "for 60 iterations" in said[1]
    assert runner.scalars == [("train/collapse_alarm", 1.0)] * 5
    train(runner, hook, [FINE] * 2, start=10)
    assert runner.scalars[5:] == [("train/collapse_alarm", 0.0)] * 2


def test_healthy_and_other_methods_values(said: list[str]) -> None:
    """Neither sane labels nor a method without any set it off; borders are outside."""
    hook = CollapseAlarm(patience=10)
    runner = make_runner(hook)
    train(runner, hook, [FINE, {WEIGHT: 0.002, LARGEST: 0.98}, {WEIGHT: 0.998, LARGEST: 0.0}])
    train(runner, hook, [{"source/ce": 1.0, "mixed/accuracy": 0.0}] * 3, start=3)
    assert said == runner.scalars == []


def test_coupled_groups_values(said: list[str]) -> None:
    """Each of two coupled groups is counted for itself."""
    hook = CollapseAlarm(patience=20)
    first, second = {f"primary/{LARGEST}": 1.0}, {f"secondary/{LARGEST}": 1.0}
    train(make_runner(hook), hook, [first, second, second])
    assert [text.partition(": ")[0] for text in said] == ["Collapse alarm at iteration 30"]


def test_default_patience_values(said: list[str]) -> None:
    """A twentieth of the run."""
    hook = CollapseAlarm()
    train(make_runner(hook, iterations=600), hook, [{WEIGHT: 0.0, LARGEST: 0.0}] * 3)
    assert [text.partition(": ")[0] for text in said] == ["Collapse alarm at iteration 30"]


def test_alarm_resume(said: list[str]) -> None:
    """A resumed run warns at the same iteration."""
    bad = {WEIGHT: 0.0, LARGEST: 0.0}
    first, checkpoint = CollapseAlarm(patience=30), {}
    train(make_runner(first), first, [bad] * 2)
    first.before_save_checkpoint(None, checkpoint)
    second = CollapseAlarm(patience=30)
    runner = make_runner(second)
    second.after_load_checkpoint(runner, checkpoint)
    train(runner, second, [bad], start=2)
    assert [text.partition(":")[0] for text in said] == ["Collapse alarm at iteration 30"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patience": 0}, "patience has to be at least 1, not 0"),
        ({"largest_class": 1.5}, r"largest_class is a share in \[0, 1\], not 1.5"),
        ({"margin": -0.1}, r"margin is a share in \[0, 1\], not -0.1"),
    ],
    ids=["patience", "largest_class", "margin"],
)
def test_alarm_errors(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CollapseAlarm(**settings)  # type: ignore[arg-type]


def test_largest_class_share_values() -> None:
    """Pixels without label or weight do not count; without any the share is 0."""
    label = torch.tensor([[[3, 3, 3, 1, 255, 255, 1, 1]]])
    weight = torch.tensor([[[1, 0.2, 0.5, 1, 1, 1, 0, 0.0]]])
    pseudo = PseudoLabel(label, weight, weight)
    assert largest_class_share(pseudo).item() == 0.75
    assert largest_class_share(PseudoLabel(label, weight * 0, weight)).item() == 0
