"""Contrast of the same places in two views, against places with another label."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.processes import mean_over


def patch_contrast(
    features: Tensor,
    other: Tensor,
    label: Tensor,
    negatives: Tensor,
    negative_label: Tensor,
    counted: Tensor,
    *,
    temperature: float = 0.1,
    ignore_index: int = 255,
) -> Tensor:
    """The mean over places of InfoNCE: near to itself in the other view, far from other labels.

    `-log(e^(z z' / T) / (e^(z z' / T) + sum_n e^(z n / T)))` with z' the same place in the other
    view, and n the negatives of another label than z has (Lai et al., CVPR 2021, as used by Chen et
    al., PiPa, MM 2023, arXiv 2211.07609). The gradient reaches z alone.

    Args:
        features: z, (P, C) float, of length 1.
        other: z', (P, C) float.
        label: (P,) int64, of each place as this view sees it.
        negatives: n, (M, C) float.
        negative_label: (M,) int64; entries of `ignore_index` are no negatives of anyone.
        counted: (P,) bool, the places that count.
        temperature: T, above 0.
        ignore_index: See `negative_label`.

    Returns:
        A scalar; 0, with zero gradient, where no place counts.

    >>> z, n = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> y, y_n, yes = torch.tensor([0]), torch.tensor([1]), torch.tensor([True])
    >>> round(patch_contrast(z, z, y, n, y_n, yes, temperature=1.0).item(), 4)
    0.3133
    """
    positive = (features * other.detach()).sum(1) / temperature
    against = features @ negatives.detach().T / temperature
    kept = (label.unsqueeze(1) != negative_label) & (negative_label != ignore_index)
    lowest = torch.finfo(against.dtype).min / 2
    against = against.masked_fill(~kept, lowest).logsumexp(1)
    loss = torch.where(counted, F.softplus(against - positive), 0.0)
    return mean_over(loss.sum(), counted.sum())
