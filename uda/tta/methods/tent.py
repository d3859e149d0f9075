"""TENT: the entropy of predictions falls by way of the affine weights of normalisation."""

from __future__ import annotations

from torch import Tensor

from uda.losses import entropy_map
from uda.tta.learner import Learner
from uda.tta.method import Method


class Tent(Method):
    """Entropy minimisation over affine weights of normalisation, prediction before the update.

    Wang et al., ICLR 2021, eq. 1: `mean_i -sum_k p_ik log p_ik`. The released code moves
    BatchNorm2d alone and leaves the model in training mode, dropout and stochastic depth included;
    here every normalisation layer moves and everything else is in evaluation mode. Its statistics
    are `Statistics("batch")`.
    """

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One update; the logits are those of before it."""
        logits = learner.forward(image)
        samples = learner.select(logits, valid)
        learner.minimise(samples.mean(entropy_map(samples.of(logits))))
        return logits
