"""Entropy of predictions."""

from __future__ import annotations

import math

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


def self_information(logits: Tensor) -> Tensor:
    """The weighted self-information `-p_k log p_k / log K` of each class, what AdvEnt compares.

    Summed over classes it is the normalised entropy. Source: Vu et al., AdvEnt, CVPR 2019; the
    released code adds 1e-30 inside the logarithm, log-softmax needs nothing of the kind.

    Args:
        logits: (N, K, ...) float.

    Returns:
        (N, K, ...) float in [0, 1 / (e log K)].

    >>> import torch
    >>> [round(value, 4) for value in self_information(torch.zeros(1, 4)).flatten().tolist()]
    [0.25, 0.25, 0.25, 0.25]
    """
    log_probs = logits.log_softmax(1)
    return -log_probs.exp() * log_probs / math.log(logits.shape[1])
