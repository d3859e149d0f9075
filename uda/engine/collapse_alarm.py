"""A warning when pseudo-labels have stopped saying anything."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from uda.engine.hooks import DeviceLogger

# What methods log of their pseudo-labels, in one of their passes.
WEIGHT, LARGEST = "pseudo_weight", "largest_class"

ADVICE = {
    "one class": "Rare class sampling, a slower teacher or a lower learning rate may help.",
    "none": "Lower the selector's threshold, or train longer on the source first.",
    "all": "Raise the selector's threshold.",
}


@HOOKS.register_module()
class CollapseAlarm(Hook):
    """Warns in the log and in TensorBoard when pseudo-labels have been degenerate for long.

    Three states are looked for in the means of each log interval: nearly all kept pixels are of one
    class; no pixel counts; every pixel counts fully. Each is normal for a while, at the start above
    all, so a warning comes when it has lasted for `patience` iterations, and again after as many.
    `train/collapse_alarm` is 1 meanwhile. The run goes on: whether a target of one class is a
    failure only its owner can tell.

    Args:
        patience: Iterations a state has to last; None: a twentieth of the run.
        largest_class: Share of the most frequent class from which labels count as one class.
        margin: Mean weights below this, or above 1 minus this, count as 0 and 1.

    Raises:
        ValueError: A number is out of range.
    """

    priority = "NORMAL"  # before the logger writes

    def __init__(
        self,
        *,
        patience: int | None = None,
        largest_class: float = 0.99,
        margin: float = 0.001,
    ) -> None:
        if patience is not None and patience < 1:
            raise ValueError(f"CollapseAlarm: patience has to be at least 1, not {patience}.")
        for name, value in (("largest_class", largest_class), ("margin", margin)):
            if not 0 <= value <= 1:
                raise ValueError(f"CollapseAlarm: {name} is a share in [0, 1], not {value}.")
        self.patience, self.largest_class, self.margin = patience, largest_class, margin
        self.lasted: dict[str, int] = {}
        self.warned = False

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the means of an interval that has just ended."""
        logger = next((hook for hook in runner.hooks if isinstance(hook, DeviceLogger)), None)
        if logger is None or not logger.fetch(runner, batch_idx):
            return
        found = dict(self.states(logger.means))
        self.lasted = {state: self.lasted.get(state, 0) + logger.interval for state in found}
        patience = self.patience or max(runner.max_iters // 20, 1)
        alarm = False
        for state, lasted in self.lasted.items():
            alarm = alarm or lasted >= patience
            if lasted // patience > (lasted - logger.interval) // patience:
                self._warn(runner.iter + 1, lasted, state, found[state])
        # A run that never had reason to warn has no curve.
        if alarm or self.warned:
            self.warned = True
            runner.message_hub.update_scalar("train/collapse_alarm", float(alarm))

    def states(self, means: Mapping[str, float]) -> Iterator[tuple[str, str]]:
        """The degenerate states that the means of an interval show: a name and a sentence."""
        for name, value in means.items():
            # "mixed/pseudo_weight"; two coupled groups put their names before it.
            *where, figure = name.split("/")
            group = "".join(f"{part}/" for part in where[:-1])
            if figure == LARGEST and value >= self.largest_class:
                yield f"{group}one class", f"{value:.1%} of the pseudo-labels are of one class"
            if figure != WEIGHT:
                continue
            told = f"pseudo-labels have a mean weight of {value:.4f}"
            if value <= self.margin:
                yield f"{group}none", f"{told}: the target is not used"
            if value >= 1 - self.margin:
                yield f"{group}all", f"{told}: nothing is rejected"

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Save how long each state has lasted."""
        checkpoint["collapse_alarm"] = {"lasted": dict(self.lasted), "warned": self.warned}

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        if runner.cfg.get("resume"):
            saved = checkpoint.get("collapse_alarm", {"lasted": {}, "warned": False})
            self.lasted, self.warned = dict(saved["lasted"]), saved["warned"]

    def _warn(self, iteration: int, lasted: int, state: str, what: str) -> None:
        print_log(
            f"Collapse alarm at iteration {iteration}: for {lasted} iterations {what}. Look at the "
            f"pictures in TensorBoard. {ADVICE[state.rpartition('/')[2]]}",
            logger="current",
            level=logging.WARNING,
        )
