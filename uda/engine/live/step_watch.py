"""Hears what a training step tells, and keeps it until the next line of the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from uda.engine.live.clock import Clock
from uda.engine.live.health import PseudoLabelSums
from uda.engine.live.phase_watch import PhaseWatch
from uda.structures import PseudoLabel

LIVE = "live"


class StepWatch(PhaseWatch):
    """The `Watch` of a training run: a clock for the phases, sums for the pseudo-labels.

    Between `step_aside` and `step_back`, where a look-ahead makes virtual steps, nothing is
    counted but time, and that under one name: the images of a virtual step are those of the real
    one.

    Args:
        clock: Gets the phases.
        sums: Get the labels and answers.
    """

    def __init__(self, clock: Clock, sums: PseudoLabelSums) -> None:
        super().__init__(clock)
        self.sums = sums
        self._groups: list[str] = []

    @classmethod
    def on(cls, device: torch.device, *, num_classes: int, stride: int) -> StepWatch:
        """A watch for a step on `device`; see `PseudoLabelSums` for the numbers."""
        return cls(Clock(device), PseudoLabelSums(num_classes=num_classes, stride=stride))

    def enter_group(self, name: str) -> None:
        """What follows belongs to a group."""
        self._groups.append(name)

    def leave_group(self) -> None:
        """The end of that."""
        self._groups.pop()

    def source_labels(self, label: Tensor) -> None:
        """Labels of source images."""
        if not self._aside:
            with self._looking():
                self.sums.add_source(label)

    def pseudo_labels(
        self, pseudo: PseudoLabel, scores: Tensor, valid: Tensor | None, *, logits: bool
    ) -> None:
        """Pseudo-labels of the group that is told of."""
        if not self._aside:
            with self._looking():
                self.sums.add_labels(self._group(), pseudo, scores, valid, logits=logits)

    def answers(self, logits: Tensor, label: Tensor, pasted: Tensor | None) -> None:
        """Answers of the student of the group that is told of."""
        if not self._aside:
            with self._looking():
                self.sums.add_answers(self._group(), logits, label, pasted)

    @contextmanager
    def _looking(self) -> Iterator[None]:
        """What watching costs is a phase like any other."""
        self.clock.enter(LIVE)
        try:
            yield
        finally:
            self.clock.leave()

    def _group(self) -> str:
        return "/".join(self._groups)
