"""RDumb: ETA that starts anew at fixed intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from uda.tta.learner import Learner
from uda.tta.method import Method
from uda.tta.methods.eta import ActiveSelection


class RDumb(Method):
    """ETA whose student, optimiser and running mean go back to the start every so many steps.

    Press et al., "RDumb: A simple approach that questions our progress in continual test-time
    adaptation", NeurIPS 2023: the line that any safeguard has to beat.

    Args:
        reset_every: Steps between two resets.
        margin: As a share of log K; samples of less entropy are reliable.
        redundancy: 0.05 for ImageNet, 0.4 for 10 classes.

    Raises:
        ValueError: `reset_every` is below 1.
    """

    def __init__(
        self, *, reset_every: int = 1000, margin: float = 0.4, redundancy: float = 0.05
    ) -> None:
        super().__init__()
        if reset_every < 1:
            raise ValueError(f"reset_every is a number of steps, at least 1, not {reset_every}.")
        self.reset_every, self.steps = reset_every, 0
        self.selection = ActiveSelection(margin=margin, redundancy=redundancy)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """A reset if it is time, then a step of ETA."""
        if self.steps and self.steps % self.reset_every == 0:
            learner.restore_source()
            self.selection.forget()
        self.steps += 1
        logits = learner.forward(image)
        loss = self.selection.loss(learner.select(logits, valid), logits)
        if loss is not None:
            learner.minimise(loss)
        return logits

    def memory(self) -> dict[str, Any]:
        """The selection's, and the number of steps."""
        return {**self.selection.memory(), "steps": self.steps}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""
        self.selection.remember(memory)
        self.steps = memory["steps"]

    def forget(self) -> None:
        """Forget the running mean probability and start counting anew."""
        self.selection.forget()
        self.steps = 0
