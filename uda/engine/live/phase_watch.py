"""Hears which phases a training step goes through, and keeps their times."""

from __future__ import annotations

from torch import Tensor

from uda.engine.live.clock import Clock
from uda.structures import PseudoLabel


class PhaseWatch:
    """The `uda.watching.Watch` that keeps times alone.

    Args:
        clock: Gets the phases.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._aside = 0

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
        """One phase until `step_back`."""
        self.enter(name)
        self._aside += 1

    def step_back(self) -> None:
        """The end of that."""
        self._aside -= 1
        self.leave()

    def enter_group(self, name: str) -> None:
        """Groups share their phases."""

    def leave_group(self) -> None:
        """Groups share their phases."""

    def source_labels(self, label: Tensor) -> None:
        """Not looked at."""

    def pseudo_labels(
        self, pseudo: PseudoLabel, scores: Tensor, valid: Tensor | None, *, logits: bool
    ) -> None:
        """Not looked at."""

    def answers(self, logits: Tensor, label: Tensor, pasted: Tensor | None) -> None:
        """Not looked at."""
