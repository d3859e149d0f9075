"""Contrast of pixels with each other, by their labels."""

from __future__ import annotations

import torch
from torch import Tensor

from uda.processes import mean_over


def pixel_contrast(
    features: Tensor,
    label: Tensor,
    counted: Tensor,
    *,
    temperature: float = 0.1,
    base_temperature: float = 0.07,
) -> Tensor:
    """The mean over anchors of a supervised contrast with all other anchors.

    With `l_ij = z_i z_j / T`, the other anchors p of the label of i and those n of another label:

        (T / T_0) mean_p(-log(e^(l_ip) / (e^(l_ip) + sum_n e^(l_in))))

    (Wang et al., ICCV 2021, as used by Chen et al., PiPa, MM 2023, arXiv 2211.07609; released code:
    `decode_head.py`). An anchor that is the only one of its label has no positive; it does not
    count, where the released code divides 0 by 0.

    Args:
        features: z, (A, C) float, of length 1.
        label: (A,) int64.
        counted: (A,) bool; the others are in no sum.
        temperature: T, above 0.
        base_temperature: T_0, above 0.

    Returns:
        A scalar, the mean over the anchors of all processes; each process contrasts its own. 0,
        with zero gradient, where no anchor has a positive.

    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> y, all_of_them = torch.tensor([0, 0, 1]), torch.ones(3, dtype=torch.bool)
    >>> round(pixel_contrast(z, y, all_of_them, temperature=1.0, base_temperature=1.0).item(), 4)
    0.3133
    """
    pairs = counted.unsqueeze(1) & counted.unsqueeze(0)
    same = pairs & (label.unsqueeze(1) == label.unsqueeze(0))
    positive = same & ~torch.eye(len(label), dtype=torch.bool, device=label.device)
    logits = features @ features.T / temperature
    lowest = torch.finfo(logits.dtype).min / 2
    negatives = logits.masked_fill(same | ~pairs, lowest).logsumexp(1, keepdim=True)
    # e^l / (e^l + e^n) is the sigmoid of l - n; softplus of the opposite is its negative logarithm.
    loss = torch.nn.functional.softplus(negatives - logits)
    number = positive.sum(1)
    per_anchor = torch.where(positive, loss, 0.0).sum(1) / number.clamp(min=1)
    return temperature / base_temperature * mean_over(per_anchor.sum(), (number > 0).sum())
