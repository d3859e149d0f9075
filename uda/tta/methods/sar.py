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
        reset_below: The model recovers where the moving average of the second loss falls below, in
            nats; None: by `recovery`. The paper's 0.2 is for K = 1000 and models that are unsure
            of their images: a segmentor that starts below it would recover at every step.
        recovery: `"clean"`: the limit is 0.2 log K / log 1000, and at most a fifth of what the
            moving average started with, at the source or after the last recovery; student,
            optimiser and moving average start anew, and without a reliable sample nothing moves.
            `"reference"`: as the released code: the limit is 0.2, momentum and moving average
            survive the reset, so that it fires again, and parameters without reliable sample coast
            on by momentum.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        *,
        margin: float = 0.4,
        rho: float = 0.05,
        skip: Literal["last_quarter", "reference"] | Sequence[str] = "last_quarter",
        reset_below: float | None = None,
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
        self.started: float | None = None
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
        if not learner.finite_gradients():
            learner.step()  # moves nothing, and makes the factor of a float16 loss smaller
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
            if self.average is None:
                self.average = self.started = loss
            else:
                self.average = 0.9 * self.average + 0.1 * loss
        self._recover(learner, classes=logits.shape[1])
        return logits

    def limit(self, classes: int) -> float:
        """The moving average below which the model recovers, in nats."""
        if self.reset_below is not None:
            return self.reset_below
        if self.recovery == "reference":
            return 0.2
        scaled = 0.2 * math.log(classes) / math.log(1000)
        return scaled if self.started is None else min(scaled, self.started / 5)

    def _recover(self, learner: Learner, *, classes: int) -> None:
        if self.average is not None and self.average < self.limit(classes):
            self.resets += 1
            learner.restore_source(optimiser=self.recovery == "clean")
            if self.recovery == "clean":
                self.forget()

    def memory(self) -> dict[str, Any]:
        """Moving average of the loss, what it started with, and how often it fell too low."""
        return {"average": self.average, "started": self.started, "resets": self.resets}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""
        self.average, self.resets = memory["average"], memory["resets"]
        self.started = memory.get("started", self.average)

    def report(self) -> dict[str, Any]:
        """How often the model recovered."""
        return {"resets": self.resets, "average": self.average}

    def forget(self) -> None:
        """Forget the moving average."""
        self.average = self.started = None
