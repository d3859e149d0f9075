"""A run that is told to stop finishes its iteration, saves, and exits with a code of its own."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from mmengine.dist import all_reduce, barrier, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from uda.engine.run_record import mark_stopped

# "Temporary failure, try again" of sysexits.h: start the same command again with --resume.
EXIT_CODE = 75


@HOOKS.register_module()
class Preemption(Hook):
    """Turns a cluster's signal into a checkpoint and a clean end.

    After the signal the iteration in progress is finished, a checkpoint is saved (by the run's
    `Checkpoint` hook) and the process exits with code 75. `--resume` goes on from there as if
    nothing had happened. Several processes agree on the iteration, so that all stop at the same,
    and wait for the one that saves. Loader processes do not listen to the signals
    (`AdaptationRunner`), since a cluster sends them to all processes of a job.

    Args:
        signals: Names of signals; clusters send SIGTERM, some also SIGUSR1 ahead of it.
        interval: Iterations between two questions to the other processes, if there are others.

    Raises:
        ValueError: A signal is unknown on this system, or the interval is below 1.
    """

    # Before all that want to know whether this iteration is the last and is saved: NonFinite,
    # RandomState, Checkpoint.
    priority = "HIGH"

    def __init__(self, *, signals: Sequence[str] = ("SIGTERM",), interval: int = 10) -> None:
        known = {number.name for number in signal.Signals}
        unknown = [name for name in signals if name not in known]
        if unknown:
            raise ValueError(f"Preemption: this system has no signals {unknown}.")
        if interval < 1:
            raise ValueError(f"Preemption: interval has to be at least 1, not {interval}.")
        self.signals = [signal.Signals[name] for name in signals]
        self.interval = interval
        self.stopping = False
        self.received: str | None = None
        self._former: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Listen to the signals, if somebody saves and this is the main thread."""
        self.stopping, self.received = False, None
        obstacle = ""
        if not any(getattr(hook, "saves_when_stopping", False) for hook in runner.hooks):
            obstacle = "the run has no `Checkpoint` hook that would save"
        elif threading.current_thread() is not threading.main_thread():
            obstacle = "only the main thread of a process hears signals"
        if obstacle:
            told = f"Preemption does nothing: {obstacle}."
            print_log(told, logger="current", level=logging.WARNING)
            return
        self._former = {number: signal.signal(number, self._receive) for number in self.signals}

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Decide whether this iteration is the last one."""
        if get_world_size() == 1:
            self.stopping = self.received is not None
        elif (runner.iter + 1) % self.interval == 0:
            asked = torch.tensor(int(self.received is not None))
            if torch.distributed.get_backend() == "nccl":
                asked = asked.cuda()
            all_reduce(asked, op="max")
            self.stopping = bool(asked)
        if self.stopping:
            print_log(
                f"Told to stop ({self.received or 'another process was'}): saving after iteration "
                f"{runner.iter + 1} and exiting with code {EXIT_CODE}; go on with --resume.",
                logger="current",
                level=logging.WARNING,
            )

    def after_train(self, runner: Any) -> None:
        """Give the signals back."""
        self.release()

    def release(self) -> None:
        """Give the signals back to whom they belonged before."""
        for number, handler in self._former.items():
            # None: the handler was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._former = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name


def exit_if_stopping(runner: Any) -> None:
    """End a run that was told to stop; call when everything is saved.

    Raises:
        SystemExit: With `EXIT_CODE`.
    """
    if is_stopping(runner):
        for hook in runner.hooks:
            if isinstance(hook, Preemption):
                hook.release()
                mark_stopped(runner, hook.received or "another process was told to stop")
        # Rank 0 may still be writing; a launcher kills the others' group when one has gone.
        barrier()
        raise SystemExit(EXIT_CODE)


def is_stopping(runner: Any) -> bool:
    """Whether a run was told to stop and this iteration is its last."""
    return any(isinstance(hook, Preemption) and hook.stopping for hook in runner.hooks)


def is_told(runner: Any) -> bool:
    """Whether a signal to stop has come, which the iterations will hear of."""
    return any(isinstance(hook, Preemption) and hook.received is not None for hook in runner.hooks)
