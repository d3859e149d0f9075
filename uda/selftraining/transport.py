"""Semi-relaxed optimal transport: every sample is assigned, class sizes may stay unequal."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def semi_relaxed_scaling(
    cost: Tensor,
    *,
    gamma: float | Tensor,
    epsilon: float = 0.1,
    prior: Tensor | None = None,
    iterations: int = 1000,
    tolerance: float = 1e-6,
) -> Tensor:
    """The logarithm of the scaling of each class that solves the problem below.

    `min_Q <Q, P> + gamma KL(Q^T 1 || mu) - epsilon H(Q)` with rows that sum to 1/N: samples are
    constrained, class sizes only pulled towards `mu` (Dual-level Adaptive Self-Labeling, ECCV 2024,
    arXiv 2407.12489). With `M = exp(-P / epsilon)` the steps are `a = (1/N) / (M b)` and
    `b = (mu / M^T a)^(gamma / (gamma + epsilon))` from `b = 1/K`, here on logarithms. The released
    code stops once `||b - b_old|| <= tolerance`; here the values stay from then on, so that no
    iteration waits for the device.

    Args:
        cost: (N, K) float, P.
        gamma: Pull towards the prior, above 0; a number or a scalar tensor.
        epsilon: Weight of the entropy, above 0.
        prior: (K,) mu, sums to 1; None is uniform.
        iterations: Steps at most.
        tolerance: Change of b at which to stay; 0 never does.

    Returns:
        (K,) float, `log b`.

    Raises:
        ValueError: The cost is not a matrix with at least one row.
    """
    if cost.dim() != 2 or 0 in cost.shape:
        raise ValueError(f"cost has to be (samples, classes), both > 0, not {tuple(cost.shape)}.")
    samples, classes = cost.shape
    log_m = -cost / epsilon
    share = torch.full((classes,), 1 / classes, dtype=cost.dtype, device=cost.device)
    log_prior = (share if prior is None else prior.to(cost)).log()
    power = gamma / (gamma + epsilon)
    log_b, done = share.log(), torch.zeros((), dtype=torch.bool, device=cost.device)
    for _ in range(iterations):
        log_a = -(log_m + log_b).logsumexp(1, keepdim=True) - math.log(samples)
        new = power * (log_prior - (log_m + log_a).logsumexp(0))
        moved = torch.linalg.vector_norm(new.exp() - log_b.exp())
        log_b = torch.where(done, log_b, new)
        done = done | (moved <= tolerance)
    return log_b


def assignment(cost: Tensor, log_scaling: Tensor, *, epsilon: float = 0.1) -> Tensor:
    """The plan: (N, K) probabilities whose rows sum to 1.

    Any samples can be assigned by the scaling of others; that of a class is one number.

    Args:
        cost: (N, K) float.
        log_scaling: (K,), from `semi_relaxed_scaling`.
        epsilon: As there.

    >>> cost = torch.tensor([[0.0, 1.0], [0.2, 0.0]])
    >>> plan = assignment(cost, semi_relaxed_scaling(cost, gamma=1.0, iterations=50))
    >>> [round(value, 3) for value in plan.sum(1).tolist()]
    [1.0, 1.0]
    """
    return (log_scaling - cost / epsilon).softmax(1)
