"""Contrast of pixels with class prototypes or class distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from uda.processes import common_mean, mean_over


def prototype_contrast(
    features: Tensor,
    label: Tensor,
    means: Tensor,
    variances: Tensor | None = None,
    *,
    seen: Tensor | None = None,
    temperature: float = 100.0,
    ignore_index: int = 255,
) -> Tensor:
    """The mean cross-entropy of pixels over classes, with the nearness to prototypes as logits.

    Without variances ProtoCL: `-log softmax_k(z mu_k / T)[y]`. With them DistCL, the upper bound of
    a contrast with infinitely many samples of a Gaussian for each class:

        -log softmax_k((z mu_k + z^2 s_k / (2 T)) / T)[y] + z^2 s_y / (2 T^2)

    (Xie et al., SePiCo, TPAMI 2023, arXiv 2204.08808; released code: `contrastive_loss.py`). With
    all variances 0 both are the same.

    Args:
        features: z, (P, C) float, of P pixels.
        label: y, (P,) int64, class ids or `ignore_index`.
        means: mu, (K, C) float, without gradient.
        variances: s, (K, C) float, at least 0; None leaves them out.
        seen: (K,) bool: the classes that have a prototype. Others are in no sum, and their pixels
            do not count (clean). None: all classes, those of which no pixel was seen yet with
            whatever `means` has, 0 at first (reference).
        temperature: T, above 0.
        ignore_index: Id of pixels that do not count.

    Returns:
        A scalar; 0, with zero gradient, where no pixel counts.

    >>> z, mu = torch.tensor([[1.0, 0.0]]), torch.eye(2)
    >>> round(prototype_contrast(z, torch.tensor([0]), mu, temperature=1.0).item(), 4)
    0.3133
    """
    counted = label != ignore_index
    known = torch.where(counted, label, 0)
    logits = features @ means.T
    spread = None
    if variances is not None:
        spread = 0.5 * features.square() @ variances.T / temperature
        logits = logits + spread
    logits = logits / temperature
    if seen is not None:
        counted = counted & seen[known]
        logits = logits.masked_fill(~seen, torch.finfo(logits.dtype).min / 2)
    loss = -_picked(logits.log_softmax(1), known)
    if spread is not None:
        loss = loss + _picked(spread, known) / temperature
    return mean_over(torch.where(counted, loss, 0.0).sum(), counted.sum())


def prototype_evenness(
    features: Tensor,
    label: Tensor,
    means: Tensor,
    *,
    seen: Tensor | None = None,
    temperature: float = 100.0,
    ignore_index: int = 255,
) -> Tensor:
    """How evenly near the mean pixel is to all prototypes: -1 if to all the same, else less.

    `sum_k log softmax_k(m mu_k / T) / (K log K)` with m the mean of z over all pixels that count,
    of all processes. The released code of SePiCo adds this to what is minimised, which makes m lean
    towards a class; subtracting it makes m even.

    Args:
        features: As in `prototype_contrast`.
        label: As there.
        means: As there.
        seen: As there; K is the number of classes that have a prototype.
        temperature: As there.
        ignore_index: As there.

    Returns:
        A scalar; 0, with zero gradient, where no pixel counts or a single class is seen.

    >>> m, y = torch.tensor([[1.0, 1.0]]), torch.tensor([0])
    >>> round(prototype_evenness(m, y, torch.eye(2), temperature=1.0).item(), 4)
    -1.0
    """
    counted = label != ignore_index
    if seen is None:
        seen = torch.ones(len(means), dtype=torch.bool, device=means.device)
    counted = counted & seen[torch.where(counted, label, 0)]
    total = torch.where(counted.unsqueeze(1), features, 0.0).sum(0)
    anyone = common_mean(counted.sum().to(features.dtype), counted.sum())
    logits = common_mean(total, counted.sum()) @ means.T / temperature
    log_p = logits.masked_fill(~seen, torch.finfo(logits.dtype).min / 2).log_softmax(0)
    number = seen.sum().clamp(min=1).to(logits.dtype)
    # K log K is 0 for one class, whose log p is 0 too; for two it is 1.39 already.
    norm = (number * number.log()).clamp(min=1.0)
    return anyone * torch.where(seen, log_p, 0.0).sum() / norm


def _picked(values: Tensor, label: Tensor) -> Tensor:
    """The column of each row that a label names."""
    return values.gather(1, label.unsqueeze(1)).squeeze(1)
