"""Losses of a discriminator's scores."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Adversary = Literal["squares", "cross_entropy"]


def domain_loss(scores: Tensor, domain: int, *, kind: Adversary = "squares") -> Tensor:
    """How far a discriminator's scores are from a domain, 0 or 1; the mean over all.

    `"squares"`: `(d - domain)^2` (least squares, Mao et al., ICCV 2017); `"cross_entropy"`: of the
    score's sigmoid.

    Args:
        scores: (N, 1, h, w) float.
        domain: 0 or 1.
        kind: See above.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: `kind` is unknown.

    >>> domain_loss(torch.tensor([0.5, 1.0]), 1).item()
    0.125
    """
    wanted = torch.full_like(scores, float(domain))
    if kind == "squares":
        return F.mse_loss(scores, wanted)
    if kind == "cross_entropy":
        return F.binary_cross_entropy_with_logits(scores, wanted)
    raise ValueError(f'kind has to be "squares" or "cross_entropy", not {kind!r}.')
