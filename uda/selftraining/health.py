"""Figures that tell whether pseudo-labels are sane, without knowing the truth."""

from __future__ import annotations

from torch import Tensor

from uda.structures import IGNORE_INDEX, PseudoLabel


def largest_class_share(pseudo: PseudoLabel) -> Tensor:
    """The share of the most frequent class among the pixels that count.

    A pixel counts if it has a label and a weight above 0. Near 1 for long, the labels have
    collapsed into one class.

    Args:
        pseudo: From a selector.

    Returns:
        A scalar in [0, 1] on the device, 0 if no pixel counts.

    >>> import torch
    >>> label = torch.tensor([[[0, 0, 1, 255]]])
    >>> weight = torch.ones(1, 1, 4)
    >>> round(largest_class_share(PseudoLabel(label, weight, weight)).item(), 4)
    0.6667
    """
    counts = pseudo.label.new_zeros(IGNORE_INDEX + 1)
    counts.scatter_add_(0, pseudo.label.flatten(), (pseudo.weight > 0).long().flatten())
    counts = counts[:IGNORE_INDEX]
    return counts.max() / counts.sum().clamp(min=1)
