"""Hears what a training step tells, and keeps it until the next line of the log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from uda.engine.live.clock import Clock
from uda.engine.live.health import PseudoLabelSums
from uda.structures import PseudoLabel

LIVE = "live"


class StepWatch:
    """The `Watch` of a training run: a clock for the phases, sums for the pseudo-labels.

    Between `step_aside` and `step_back`, where a look-ahead makes virtual steps, nothing is
    counted but time, and that under one name: the images of a virtual step are those of the real
    one.

    Args:
        clock: Gets the phases.
        sums: Get the labels and answers.
    """

    def __init__(self, clock: Clock, sums: PseudoLabelSums) -> None:
        self.clock, self.sums = clock, sums
        self._groups: list[str] = []
        self._aside = 0

    @classmethod
    def on(cls, device: torch.device, *, num_classes: int, stride: int) -> StepWatch:
        """A watch for a step on `device`; see `PseudoLabelSums` for the numbers."""
        return cls(Clock(device), PseudoLabelSums(num_classes=num_classes, stride=stride))

    def enter(self, name: str) -> None:
        """A phase begins."""
        if not self._aside:
            self.clock.enter(name)

    def leave(self) -> None:
        """The innermost phase ends."""
        if not self._aside:
            self.clock.leave()

    def lap(self, name: str) -> None:
        """Names the time since the last lap."""
        if not self._aside:
            self.clock.lap(name)

    def step_aside(self, name: str) -> None:
        """One phase, and nothing is told."""
        self.enter(name)
        self._aside += 1

    def step_back(self) -> None:
        """The end of that."""
        self._aside -= 1
        self.leave()

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
