"""Entropy of predictions."""

from __future__ import annotations

from torch import Tensor

from uda.processes import mean_over


def entropy_map(logits: Tensor) -> Tensor:
    """The entropy `-sum_k p_k log p_k` of each prediction, in nats.

    Computed from log-softmax, so that a probability of 0 gives 0 and not NaN.

    Args:
        logits: (N, K, ...) float.

    Returns:
        (N, ...) float in [0, log K].

    >>> import torch
    >>> round(entropy_map(torch.zeros(1, 4)).item(), 4)  # log 4
    1.3863
    """
    log_probs = logits.log_softmax(1)
    return -(log_probs.exp() * log_probs).sum(1)


def mean_entropy(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean entropy in nats of the predictions, where `mask` is True.

    Args:
        logits: (N, K, ...) float.
        mask: (N, ...) bool; None takes all. An all-False mask gives 0 with zero gradient.

    Returns:
        A scalar in [0, log K].
    """
    entropy = entropy_map(logits)
    if mask is None:
        return entropy.mean()
    kept = mask.to(entropy.dtype)
    return mean_over((entropy * kept).sum(), kept.sum())
