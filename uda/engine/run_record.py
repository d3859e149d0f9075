"""The record beside each run: `run.json`, written at the start, completed at the end."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from uda.engine.failures import one_sentence
from uda.engine.restart_warnings import nothing_left, restart_warnings
from uda.engine.run_facts import run_facts
from uda.runs.record import (
    COMPLETED,
    FAILED,
    FILE_NAME,
    STOPPED,
    continued,
    move_aside,
    new_record,
    new_session,
    now,
    read_record,
    write_record,
)


@HOOKS.register_module()
class RunRecord(Hook):
    """Writes `run.json` into the run's folder: what the run is made of, and how it ended.

    Rank 0 writes it before the weights are loaded, again with each checkpoint, and when the run has
    ended; a process that was killed leaves its session as "running". A resumed run adds a session
    to the record that is there. A record that cannot be read, and that of another run in the same
    folder, is kept as `run.1.json`. `build_runner` adds this hook to every run.

    How a run ended is told by whoever knows: `after_run` comes after the last iteration;
    `recorded` notes an exception; a signal handler calls `mark_stopped`.
    """

    # Before the hook that saves checkpoints: the iteration has to be known there.
    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._folder = Path()
        self._record: dict[str, Any] | None = None
        self._stop_reason: str | None = None

    def before_run(self, runner: Any) -> None:
        """Begin the record, or a new session of it; scoring alone is not recorded."""
        # mmengine comes here for `val` and `test` too, with a loop that is not built yet.
        if runner.rank != 0 or not isinstance(runner._train_loop, BaseLoop):
            return
        self._folder = Path(runner.work_dir)
        session = new_session(
            command=sys.argv, log=runner.timestamp, max_iterations=runner.max_iters
        )
        facts = run_facts(runner)
        earlier = self._earlier(resume=bool(runner.cfg.get("resume")))
        if earlier is None:
            self._record = new_record(facts, session)
        else:
            self._record = continued(earlier, facts, session)
            for told in restart_warnings(self._record["sessions"][-1]["changes"]):
                print_log(told, logger="current", level=logging.WARNING)
        self._write()

    def before_train(self, runner: Any) -> None:
        """Note where the session goes on, now that a checkpoint would have been loaded."""
        told = nothing_left(runner.iter, runner.max_iters)
        if told is not None and runner.rank == 0:
            print_log(told, logger="current", level=logging.WARNING)
        self._note(from_iteration=runner.iter, last_iteration=runner.iter)
        self._write()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Note the iteration; nothing is written."""
        self._note(last_iteration=runner.iter + 1)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Write how far the run has come."""
        self._write()

    def after_run(self, runner: Any) -> None:
        """Write that the run has completed, or was stopped before its last iteration."""
        if self._record is None:
            return
        if runner.iter < runner.max_iters:
            self.ended(STOPPED, "training was ended before the last iteration")
        else:
            self.ended(COMPLETED)

    def stop(self, reason: str) -> None:
        """Note why the run is about to end early; see `mark_stopped`."""
        self._stop_reason = reason

    def ended(self, outcome: str, reason: str | None = None) -> None:
        """Write how the session ended.

        Args:
            outcome: One of those in `uda.runs.record`.
            reason: A sentence, None if there is none to give. For a run that was stopped, the one
                given to `stop` is taken instead.
        """
        if outcome == STOPPED:
            reason = self._stop_reason or reason
        self._note(outcome=outcome, reason=reason, ended=now())
        self._write()

    def _earlier(self, *, resume: bool) -> dict[str, Any] | None:
        """The record to go on with; what is in the way is moved aside."""
        file = self._folder / FILE_NAME
        try:
            record = read_record(file)
            if resume:
                return record
            told, level = f"{file} belongs to an earlier run in this folder.", logging.INFO
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            told, level = str(error), logging.WARNING
        try:
            told = f"{told} It is kept as {move_aside(file).name}; a new record begins."
        except OSError as error:
            told = f"{told} It cannot be moved ({error}) and is overwritten."
        print_log(told, logger="current", level=level)
        return None

    def _note(self, **values: Any) -> None:
        if self._record is not None:
            self._record["sessions"][-1].update(values)

    def _write(self) -> None:
        if self._record is None:
            return
        try:
            write_record(self._folder, self._record)
        except OSError as error:
            # A run is worth more than its record.
            told = f"The record {self._folder / FILE_NAME} could not be written: {error}"
            print_log(told, logger="current", level=logging.WARNING)


@contextlib.contextmanager
def recorded(runner: Any) -> Iterator[None]:
    """Run a block, and note in the run's record if it ends by an exception, which goes on.

    Example: `with recorded(runner): runner.train()`.

    Args:
        runner: From `build_runner`.
    """
    try:
        yield
    except BaseException as error:
        hook = record_hook(runner)
        if hook is not None:
            hook.ended(*_ending(error))
        raise


def mark_stopped(runner: Any, reason: str) -> None:
    """Note why a run is about to end early; the record then says "stopped" with this reason.

    Meant for signal handlers: it sets one attribute and writes nothing. The record is written when
    the training loop ends (`runner.train_loop.stop_training = True`), or when the handler raises
    SystemExit or KeyboardInterrupt and the run is inside `recorded`.

    Args:
        runner: From `build_runner`; without the hook nothing happens.
        reason: For example "SIGTERM".
    """
    hook = record_hook(runner)
    if hook is not None:
        hook.stop(reason)


def record_hook(runner: Any) -> RunRecord | None:
    """The hook of a Runner that writes its record."""
    return next((hook for hook in runner.hooks if isinstance(hook, RunRecord)), None)


def _ending(error: BaseException) -> tuple[str, str]:
    """Outcome and reason of a run that an exception ended."""
    if isinstance(error, KeyboardInterrupt):
        return STOPPED, "KeyboardInterrupt (SIGINT)"
    if isinstance(error, SystemExit):
        return STOPPED, f"SystemExit({error.code})"
    told = f"{type(error).__name__}: {one_sentence(error)}"
    # Errors name full paths; a record is passed on.
    home = os.path.expanduser("~")
    return FAILED, told.replace(home, "~") if len(Path(home).parts) > 1 else told
