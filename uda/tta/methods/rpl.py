"""RPL: robust pseudo-labelling by generalised cross-entropy."""

from __future__ import annotations

from torch import Tensor

from uda.losses import generalised_cross_entropy
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.method import Method


class RPL(Method):
    """Self-learning by hard pseudo-labels with a loss that bounds the harm of wrong ones.

    Rusak et al., arXiv 2104.12928, eq. 4: `(1 - p_y^q) / q` with `y = argmax p` of the student
    itself, without lag. Only affine weights of normalisation move; the released example collects
    them, but gives all parameters to the optimiser (`parameters="all"`, reference).

    Args:
        q: In [0, 1]; 0 is cross-entropy with hard pseudo-labels.
    """

    def __init__(self, *, q: float = 0.8) -> None:
        super().__init__()
        if not 0 <= q <= 1:
            raise ValueError(f"q has to lie in [0, 1], not {q}.")
        self.q = q

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """SGD, 7.5e-4 without momentum: the released example for ResNet-50."""
        return OptimiserSettings("sgd", lr=7.5e-4, momentum=0.0)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One update; the logits are those of before it."""
        logits = learner.forward(image)
        samples = learner.select(logits, valid)
        chosen = samples.of(logits)
        loss = generalised_cross_entropy(chosen, chosen.detach().argmax(1), q=self.q)
        learner.minimise(samples.mean(loss))
        return logits
