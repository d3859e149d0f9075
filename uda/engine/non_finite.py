"""A run whose numbers go wrong stops with all that is needed to find out why, or skips the step."""

from __future__ import annotations

import io
import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from uda.engine.hooks import unwrapped
from uda.engine.number_watch import GRADIENT, Finding, NumberWatch
from uda.engine.random_state import current_states, saves_now
from uda.files import write_atomically
from uda.structures import Batch

FOLDER = "non_finite"
_SHOWN = 8  # file names in a message


@HOOKS.register_module()
class NonFinite(Hook):
    """Stops a run, or skips a step, when a loss or the gradient is NaN or infinite.

    `policy="stop"`: the message names the losses, the iteration and the images. Where the gradient
    is looked at before each step, the weights are still those before it, and the folder
    `non_finite/iter_N` of the run gets the batch, the networks and the random states
    (`state.pth`, plain data) and a `report.json`; `replay` runs the iteration again.

    `policy="skip"`: the optimiser makes no step, a warning names the same, and `train/skipped`
    counts. Too many in a row, and running statistics that are NaN as well, stop the run all the
    same. With `--amp fp16` the loss scaler skips steps of its own; only losses are watched then.

    `build_runner` adds this hook to a run that has none.

    Args:
        policy: `"stop"` or `"skip"`.
        look: `"step"`: before each step, which makes a GPU wait. `"interval"`: every `interval`
            iterations; until then the run goes on, and nothing but file names is kept. None:
            `"step"` on a CPU and for `"skip"`, else `"interval"`.
        interval: Iterations between two looks.
        most: Steps skipped in a row that end a run.

    Raises:
        ValueError: An argument is unknown or out of range.
    """

    priority = "ABOVE_NORMAL"  # before losses are logged and checkpoints saved

    def __init__(
        self,
        *,
        policy: Literal["stop", "skip"] = "stop",
        look: Literal["step", "interval"] | None = None,
        interval: int = 50,
        most: int = 10,
    ) -> None:
        if policy not in ("stop", "skip"):
            raise ValueError(f'NonFinite: policy has to be "stop" or "skip", not {policy!r}.')
        if look not in ("step", "interval", None):
            raise ValueError(f'NonFinite: look has to be "step" or "interval", not {look!r}.')
        if policy == "skip" and look == "interval":
            raise ValueError('NonFinite: policy="skip" has to look before each step.')
        if interval < 1 or most < 1:
            raise ValueError(
                f"NonFinite: interval and most have to be at least 1, not {interval} and {most}."
            )
        self.policy, self.look_when, self.interval, self.most = policy, look, interval, most
        self.total = self.in_a_row = 0
        self._recent: deque[tuple[int, dict[str, list[str]]]] = deque(maxlen=interval)
        self._states: dict[str, Any] | None = None

    def before_train(self, runner: Any) -> None:
        """Tell the model when to look."""
        model = unwrapped(runner)
        on_cpu = next(model.parameters()).device.type == "cpu"
        each = self.look_when == "step" or (
            self.look_when is None and (on_cpu or self.policy == "skip")
        )
        model.watch = NumberWatch(before_step=each)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the names of this iteration's files and, if it can be kept whole, the states."""
        model = unwrapped(runner)
        model.iteration = runner.iter + 1
        self._recent.append((runner.iter + 1, files_of(data_batch)))
        self._states = current_states() if model.watch.before_step else None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look, if it is time."""
        watch = unwrapped(runner).watch
        due = self.every_n_inner_iters(batch_idx, self.interval)
        if not (watch.before_step or due or self.is_last_train_iter(runner) or saves_now(runner)):
            return
        found = watch.look()
        if found is None:
            self.in_a_row = 0
        elif self.policy == "stop":
            raise FloatingPointError(self._stop(runner, found, data_batch))
        else:
            self._skip(runner, found, data_batch)
        if self.policy == "skip":
            runner.message_hub.update_scalar("train/skipped", self.total)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save how many steps were skipped."""
        checkpoint["skipped_steps"] = {"total": self.total, "in_a_row": self.in_a_row}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        if runner.cfg.get("resume"):
            counts = checkpoint.get("skipped_steps", {})
            self.total, self.in_a_row = counts.get("total", 0), counts.get("in_a_row", 0)

    def _skip(self, runner: Any, found: Finding, data_batch: Any) -> None:
        """Warn; stop all the same where skipping does not help."""
        if GRADIENT not in found.names:
            consequence = "its gradient is finite, so the step was made"
        else:
            self.total += 1
            self.in_a_row += 1
            consequence = f"the step was skipped ({self.total} so far)"
        method = unwrapped(runner).method
        spoilt = [n for n, b in method.named_buffers() if not bool(b.isfinite().all())]
        if spoilt or self.in_a_row >= self.most:
            why = (
                f"{spoilt[0]} is NaN or infinite too, so that skipping does not help"
                if spoilt
                else f"this was number {self.in_a_row} in a row"
            )
            raise FloatingPointError(f"{self._stop(runner, found, data_batch)} Stopped: {why}.")
        told = f"{self._what(found)}: {consequence}. {self._images(found.iteration)}"
        print_log(told, logger="current", level=logging.WARNING)

    def _stop(self, runner: Any, found: Finding, data_batch: Any) -> str:
        """Save what there is, and say all about it."""
        when = "" if found.iteration == runner.iter + 1 else f" (noticed after {runner.iter + 1})"
        told = f"{self._what(found)}{when}. {self._images(found.iteration)} "
        if self._states is None:
            told += (
                "To stop there with everything saved: --resume --cfg-options "
                "default_hooks.numbers.look=step. "
            )
        else:
            told += self._dump(runner, found, data_batch)
        told += "Lower the learning rate, or train with --amp off if half precision is on"
        if self.policy == "stop":
            told += "; default_hooks.numbers.policy=skip goes on over single cases"
        return told + ". The last checkpoint is untouched."

    def _what(self, found: Finding) -> str:
        where = f" of process {get_rank()}" if get_world_size() > 1 else ""
        return (
            f"{', '.join(found.names)} became NaN or infinite in iteration {found.iteration}{where}"
        )

    def _images(self, iteration: int) -> str:
        files = dict(self._recent).get(iteration, {})
        return " ".join(
            f"{domain.capitalize()} images: {', '.join(names[:_SHOWN])}"
            + (f" and {len(names) - _SHOWN} more." if len(names) > _SHOWN else ".")
            for domain, names in files.items()
        )

    def _dump(self, runner: Any, found: Finding, data_batch: Any) -> str:
        folder = Path(runner.work_dir) / FOLDER / f"iter_{found.iteration}"
        folder = folder / f"process_{get_rank()}" if get_world_size() > 1 else folder
        model = unwrapped(runner)
        state = {
            "model": model.state_dict(),
            "batch": tensors_of(model.batch(data_batch)),
            "further": [tensors_of(model.batch(pair)) for pair in data_batch.get("further", ())],
            "random_states": self._states,
        }
        report = {
            "iteration": found.iteration,
            "not_finite": found.names,
            "files": dict(self._recent)[found.iteration],
            "seed": runner.seed,
            "process": get_rank(),
        }
        content = io.BytesIO()
        torch.save(state, content)
        try:
            write_atomically(folder / "state.pth", content.getvalue())
            write_atomically(folder / "report.json", json.dumps(report, indent=1).encode())
        except OSError as error:  # what went wrong first is what has to be told
            return f"The batch could not be saved: {error}. "
        when = "before" if unwrapped(runner).watch.refused else "after"
        return f"Batch and networks as they were {when} the step: {folder}. "


def files_of(data_batch: Mapping[str, Any]) -> dict[str, list[str]]:
    """The image files of a batch by domain, those of further batches under the same names."""
    files: dict[str, list[str]] = {}
    for domain, part in data_batch.items():
        if isinstance(part, Mapping):
            names = [str(s.metainfo.get("img_path", "?")) for s in part.get("data_samples", ())]
            files.setdefault(domain, []).extend(names)
    for pair in data_batch.get("further", ()):
        for domain, names in files_of(pair).items():
            files.setdefault(domain, []).extend(names)
    return files


def tensors_of(batch: Batch) -> dict[str, dict[str, Any] | None]:
    """A batch as plain data: its parts by name, each a dict of tensors."""
    return {
        part.name: None if (held := getattr(batch, part.name)) is None else dict(vars(held))
        for part in fields(batch)
    }
