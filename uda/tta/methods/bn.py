"""BN: batch normalisation by the statistics of the test stream; no weight moves."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from uda.tta.learner import Learner
from uda.tta.method import Method
from uda.tta.statistics import Kind, Statistics


class BN(Method):
    """Statistics of batch normalisation from the batch, blended with stored ones, or cumulative.

    Schneider et al., "Improving robustness against common corruptions by covariate shift
    adaptation", NeurIPS 2020; Nado et al., 2020.

    Args:
        kind: `"auto"`, `"batch"`, `"running"`, `"blend"`, `"cumulative"` or `"stream"`, see
            `Statistics`.
        prior: Number N of images that the stored statistics of `"blend"` and `"stream"` count for.
        share: Their fixed share in [0, 1] instead.
        mean: Whether `"blend"` takes the mean from the batch.
        variance: And the variance.
    """

    needs: ClassVar[str] = "batch_norm"

    def __init__(
        self,
        *,
        kind: Kind = "auto",
        prior: float = 16.0,
        share: float | None = None,
        mean: bool = True,
        variance: bool = True,
    ) -> None:
        super().__init__()
        self.rule = Statistics(kind, prior, share, mean, variance)

    def statistics(self, *, dense: bool) -> Statistics:
        """As the constructor says."""
        return self.rule

    @torch.no_grad()
    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One forward pass, by which stored statistics may move."""
        return learner.forward(image)
