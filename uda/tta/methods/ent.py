"""ENT: entropy minimisation as self-learning, with statistics that follow the stream."""

from __future__ import annotations

from torch import Tensor

from uda.losses import entropy_map
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.method import Method


class Ent(Method):
    """Self-learning by entropy: `-sum_k p_k log p_k`, gradient through both factors.

    Rusak et al., "If your data distribution shifts, use self-learning", arXiv 2104.12928. The
    loss is TENT's; the rate is that of its authors, SGD without momentum. Their statistics are
    `Statistics("running")` (reference).
    """

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """SGD, 7.5e-4 without momentum: the released example for ResNet-50."""
        return OptimiserSettings("sgd", lr=7.5e-4, momentum=0.0)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One update; the logits are those of before it."""
        logits = learner.forward(image)
        samples = learner.select(logits, valid)
        learner.minimise(samples.mean(entropy_map(samples.of(logits))))
        return logits
