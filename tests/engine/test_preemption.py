"""Signals: heard, agreed on, given back."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from uda.engine import preemption
from uda.engine.preemption import EXIT_CODE, Preemption, exit_if_stopping, is_stopping


def make_runner(hook: Preemption) -> Any:
    """As much of a Runner as the hook uses."""
    saver = SimpleNamespace(saves_when_stopping=True)
    return SimpleNamespace(hooks=[hook, saver], iter=0)


def test_preemption_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal during an iteration makes it the last; the former handler comes back."""
    said: list[str] = []
    monkeypatch.setattr(preemption, "print_log", lambda text, **_: said.append(text))
    before = signal.getsignal(signal.SIGTERM)
    hook = Preemption()
    runner = make_runner(hook)
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    assert not is_stopping(runner)
    exit_if_stopping(runner)
    os.kill(os.getpid(), signal.SIGTERM)
    runner.iter = 6
    hook.after_train_iter(runner, 6)
    assert is_stopping(runner)
    assert "Told to stop (SIGTERM): saving after iteration 7 and exiting with code 75" in said[0]
    with pytest.raises(SystemExit) as stop:
        exit_if_stopping(runner)
    assert stop.value.code == EXIT_CODE
    assert signal.getsignal(signal.SIGTERM) is before


def test_preemption_of_several_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes ask each other every second iteration; one that was told is enough."""
    asked: list[int] = []

    def reduce(value: torch.Tensor, op: str) -> None:
        assert op == "max"
        asked.append(int(value))
        value.fill_(1)  # another process was told

    monkeypatch.setattr(preemption, "get_world_size", lambda: 2)
    monkeypatch.setattr(preemption, "all_reduce", reduce)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")
    monkeypatch.setattr(preemption, "print_log", lambda *_, **__: None)
    hook = Preemption(interval=2)
    runner = make_runner(hook)
    hook.after_train_iter(runner, 0)
    assert (asked, hook.stopping) == ([], False)
    runner.iter = 1
    hook.after_train_iter(runner, 1)
    assert (asked, hook.stopping) == ([0], True)


def test_preemption_without_a_saver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody saves, or another thread trains: a warning is given, the signal keeps its meaning."""
    said: list[str] = []
    monkeypatch.setattr(preemption, "print_log", lambda text, **_: said.append(text))
    before = signal.getsignal(signal.SIGTERM)
    hook = Preemption()
    hook.before_train(SimpleNamespace(hooks=[hook]))
    thread = threading.Thread(target=hook.before_train, args=(make_runner(hook),))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    assert "the run has no `Checkpoint` hook that would save" in said[0]
    assert "only the main thread of a process hears signals" in said[1]


def test_preemption_errors() -> None:
    """An unknown signal and an interval of nothing."""
    with pytest.raises(ValueError, match=r"this system has no signals \['SIGFOO'\]"):
        Preemption(signals=("SIGTERM", "SIGFOO"))
    with pytest.raises(ValueError, match="interval has to be at least 1, not 0"):
        Preemption(interval=0)
