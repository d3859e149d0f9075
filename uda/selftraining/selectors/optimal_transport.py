"""Pseudo-labels by semi-relaxed optimal transport, whose pull towards the prior fades."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from uda.processes import gathered, number
from uda.selftraining.selectors.base import Selector, check_threshold
from uda.selftraining.transport import assignment, semi_relaxed_scaling
from uda.structures import IGNORE_INDEX, PseudoLabel


class OptimalTransport(Selector):
    """Assigns pixels to classes so that class sizes lean towards a prior; keeps sharp assignments.

    The cost of a pixel is `-log p`; the plan is that of `semi_relaxed_scaling` (Dual-level Adaptive
    Self-Labeling, ECCV 2024, arXiv 2407.12489). The scaling of the classes is found on some evenly
    spaced pixels of the batch and assigns all of them; label and confidence are those of the plan,
    and a pixel is kept where its plan is sharp enough. Taking pixels of a segmentation as samples
    is this toolkit's decision.

    Adaptive regularisation as in the released code: while `KL(prior || class sizes)` is at most
    `bound`, calls are counted, else the count begins anew; at `patience` gamma is multiplied by
    `decrease`. Gamma and count are saved with the weights.

    Args:
        num_classes: K.
        gamma: Pull towards the prior at the start, above 0.
        epsilon: Weight of the entropy, above 0; smaller gives sharper plans.
        threshold: Share of a pixel's plan that its class must have, in [0, 1].
        prior: Shares of the classes, such as those of the source labels; None is uniform.
        bound: Distance from the prior below which gamma may fall.
        patience: Calls in a row.
        decrease: Factor on gamma, in (0, 1].
        samples: Pixels on which the scaling is found.
        iterations: Steps of the solver.
        ignore_rows: See `Selector`.

    Raises:
        ValueError: An argument is outside its range.
    """

    gamma: Tensor
    calls: Tensor
    prior: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        gamma: float = 1.0,
        epsilon: float = 0.1,
        threshold: float = 0.9,
        prior: Sequence[float] | None = None,
        bound: float = 0.005,
        patience: int = 10,
        decrease: float = 0.5,
        samples: int = 4096,
        iterations: int = 50,
        ignore_rows: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(ignore_rows=ignore_rows)
        for name, value in (("gamma", gamma), ("epsilon", epsilon), ("decrease", decrease)):
            if not value > 0:
                raise ValueError(f"{name} has to be above 0, not {value}.")
        if decrease > 1:
            raise ValueError(f"decrease is a factor of at most 1, not {decrease}.")
        for name, count in (
            ("patience", patience),
            ("samples", samples),
            ("iterations", iterations),
        ):
            if count < 1:
                raise ValueError(f"{name} has to be at least 1, not {count}.")
        shares = torch.tensor(list(prior) if prior is not None else [1.0] * num_classes)
        if len(shares) != num_classes or not bool((shares > 0).all()):
            raise ValueError(
                f"prior has to be {num_classes} shares above 0, one a class, not {prior}."
            )
        self.threshold = check_threshold(threshold)
        self.epsilon, self.bound, self.patience = epsilon, bound, patience
        self.decrease, self.samples, self.iterations = decrease, samples, iterations
        self.register_buffer("prior", shares / shares.sum(), persistent=False)
        self.register_buffer("gamma", torch.tensor(float(gamma)))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """Solve on some pixels, assign all, and see whether gamma may fall."""
        tiny = torch.finfo(probs.dtype).tiny
        cost = -probs.movedim(1, -1).reshape(-1, probs.shape[1]).clamp(min=tiny).log()
        some = gathered(cost[:: max(len(cost) * number() // self.samples, 1)])
        scaling = semi_relaxed_scaling(
            some,
            gamma=self.gamma.to(cost.dtype),
            epsilon=self.epsilon,
            prior=self.prior,
            iterations=self.iterations,
            tolerance=0.0,
        )
        self._adapt(assignment(some, scaling, epsilon=self.epsilon).mean(0))
        plan = assignment(cost, scaling, epsilon=self.epsilon)
        share, chosen = (value.view(label.shape) for value in plan.max(1))
        kept = share >= self.threshold
        return PseudoLabel(chosen.masked_fill(~kept, IGNORE_INDEX), kept.to(probs.dtype), share)

    def _adapt(self, mass: Tensor) -> None:
        prior = self.prior.to(mass.dtype)
        distance = (prior * (prior.log() - (mass + 1e-7).log())).sum()
        calls = torch.where(distance <= self.bound, self.calls + 1, torch.zeros_like(self.calls))
        reached = calls >= self.patience
        self.gamma.copy_(torch.where(reached, self.gamma * self.decrease, self.gamma))
        self.calls.copy_(torch.where(reached, torch.zeros_like(calls), calls))
