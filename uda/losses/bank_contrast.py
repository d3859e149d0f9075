"""Contrast of pixels with a bank of class means."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from uda.processes import mean_over


def bank_contrast(
    features: Tensor,
    label: Tensor,
    bank: Tensor,
    filled: Tensor,
    *,
    temperature: float = 100.0,
    ignore_index: int = 255,
) -> Tensor:
    """The mean over pixels and over the entries of their class of a contrast with all others.

    BankCL: `-log(e^(z b / T) / (e^(z b / T) + sum_j e^(z m_j / T)))` for a pixel z, an entry b of
    its class, and m_j the mean of the entries of another class (Xie et al., SePiCo, arXiv
    2204.08808; released code: `contrastive_loss.py`). A class without an entry is in no sum, and
    its pixels do not count.

    Every class is compared with every pixel, so that nothing waits for the device; what that takes
    is computed a second time in the backward pass, and memory is that of one class.

    Args:
        features: z, (P, C) float, of P pixels.
        label: (P,) int64, class ids or `ignore_index`.
        bank: b, (K, M, C) float, without gradient.
        filled: (K, M) bool, which places of the bank hold an entry.
        temperature: T, above 0.
        ignore_index: Id of pixels that do not count.

    Returns:
        A scalar; 0, with zero gradient, where no pixel counts.

    >>> z, b = torch.tensor([[1.0, 0.0]]), torch.eye(2).unsqueeze(1)
    >>> yes = torch.ones(2, 1, dtype=torch.bool)
    >>> round(bank_contrast(z, torch.tensor([0]), b, yes, temperature=1.0).item(), 4)
    0.3133
    """
    seen, number = filled.any(1), filled.sum(1)
    counted = label != ignore_index
    known = torch.where(counted, label, 0)
    counted = counted & seen[known]
    means = torch.where(filled.unsqueeze(2), bank, 0.0).sum(1) / number.clamp(min=1).unsqueeze(1)
    others = features @ means.T / temperature
    own = torch.arange(len(bank), device=label.device) == known.unsqueeze(1)
    others = others.masked_fill(own | ~seen, torch.finfo(others.dtype).min / 2).logsumexp(1)

    def of_class(z: Tensor, against: Tensor, entries: Tensor, there: Tensor) -> Tensor:
        """The loss of each pixel, were it of this class."""
        per_entry = F.softplus(against.unsqueeze(1) - z @ entries.T / temperature)
        return torch.where(there, per_entry, 0.0).sum(1) / there.sum().clamp(min=1)

    total = torch.zeros_like(others)
    for k, (entries, there) in enumerate(zip(bank, filled, strict=True)):
        loss = checkpoint(
            of_class,
            features,
            others,
            entries,
            there,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        total = torch.where(counted & (known == k), loss, total)
    return mean_over(total.sum(), counted.sum())
