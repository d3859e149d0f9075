"""SAR: sharpness-aware entropy minimisation over reliable samples, with recovery."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from uda.losses import entropy_map
from uda.tta.learner import Learner
from uda.tta.method import Method
from uda.tta.parameters import Parameters, trained_layers
from uda.tta.sam import SharpnessAscent

Recovery = Literal["clean", "reference"]


class SAR(Method):
    """Entropy of reliable samples at the worst point nearby, over norm layers but the last ones.

    Niu et al., "Towards Stable Test-Time Adaptation in Dynamic Wild World", ICLR 2023, eqs. 2 to 4
    and the recovery of section 4.2.

    Args:
        margin: As a share of log K; samples of less entropy are reliable.
        rho: Length of the move to the worst point.
        skip: Layers that stay: `"last_quarter"` (clean), `"reference"`, or strings that their names
            contain; see `trained_layers`.
        reset_below: The model recovers where the moving average of the second loss falls below.
            0.2 is the paper's for K = 1000, and as a share of log K it would be 0.03.
        recovery: `"clean"`: student, optimiser and moving average start anew, and without a
            reliable sample nothing moves. `"reference"`: as the released code, where momentum and
            moving average survive the reset, so that it fires again, and where parameters without
            reliable sample coast on by momentum.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        *,
        margin: float = 0.4,
        rho: float = 0.05,
        skip: Literal["last_quarter", "reference"] | Sequence[str] = "last_quarter",
        reset_below: float = 0.2,
        recovery: Recovery = "clean",
    ) -> None:
        super().__init__()
        if margin <= 0:
            raise ValueError(f"margin is a share of log K, above 0, not {margin}.")
        if rho < 0:
            raise ValueError(f"rho is the length of a move, at least 0, not {rho}.")
        if recovery not in ("clean", "reference"):
            raise ValueError(f'recovery has to be "clean" or "reference", not {recovery!r}.')
        self.margin, self.rho, self.skip = margin, rho, skip
        self.reset_below, self.recovery = reset_below, recovery
        self.average: float | None = None
        self.resets = 0

    def moves(self, network: nn.Module) -> Parameters:
        """Norm layers but the last."""
        return trained_layers(network, self.skip)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Two gradients, one update; the logits are those of the first pass."""
        logits = learner.forward(image)
        samples = learner.select(logits, valid)
        entropy = entropy_map(samples.of(logits))
        margin = self.margin * math.log(logits.shape[1])
        reliable = samples.kept(entropy < margin, entropy) > 0
        learner.zero_grad()
        ascent = SharpnessAscent(list(learner.parameters.values()), rho=self.rho)
        if not learner.backward(samples.mean(entropy, reliable)):
            return logits
        if self.recovery == "clean" and not bool(reliable.any()):
            learner.zero_grad()
            return logits
        ascent.climb()
        second = entropy_map(samples.of(learner.forward(image)))
        reliable = reliable & (second < margin)
        finite = learner.backward(samples.mean(second, reliable))
        ascent.descend()
        found = bool(reliable.any())
        if finite and (found or self.recovery == "reference"):
            learner.step()
        if finite and found:
            loss = float(samples.mean(second.detach(), reliable))
            self.average = loss if self.average is None else 0.9 * self.average + 0.1 * loss
        self._recover(learner)
        return logits

    def _recover(self, learner: Learner) -> None:
        if self.average is not None and self.average < self.reset_below:
            self.resets += 1
            learner.restore_source(optimiser=self.recovery == "clean")
            if self.recovery == "clean":
                self.average = None

    def memory(self) -> dict[str, Any]:
        """Moving average of the loss, and how often it fell too low."""
        return {"average": self.average, "resets": self.resets}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""
        self.average, self.resets = memory["average"], memory["resets"]

    def forget(self) -> None:
        """Forget the moving average."""
        self.average = None
