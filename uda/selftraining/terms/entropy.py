"""Entropy minimisation on target images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from torch import Tensor

from uda.losses import entropy_map
from uda.selftraining.terms.base import Pass, Term
from uda.structures import Batch, NetworkOutput, PseudoLabel


class EntropyMinimisation(Term):
    """The mean normalised entropy of the student's target predictions, in a pass of its own.

    `weight * mean(H(p)) / log K` (MinEnt: Vu et al., AdvEnt, CVPR 2019; the normalised
    entropy does not depend on the base of the logarithm).

    Args:
        weight: Weight of the loss; 0.001 in the paper.
    """

    name = "entropy"

    def __init__(self, *, weight: float = 0.001) -> None:
        super().__init__()
        self.weight = weight

    def passes(
        self,
        student: Callable[[Tensor], NetworkOutput],
        batch: Batch,
        pseudo: PseudoLabel,
    ) -> Iterator[Pass]:
        """One pass over the target images."""
        if batch.target is None:
            raise ValueError("EntropyMinimisation needs target images; this batch has none.")
        logits = student(batch.target.image).logits
        loss = self.weight * entropy_map(logits).mean() / math.log(logits.shape[1])
        yield Pass("target", {self.name: loss})
