"""Weights from the entropy of the prediction."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from uda.processes import summed
from uda.selftraining.selectors.base import Selector
from uda.structures import PseudoLabel


class EntropyWeight(Selector):
    """Keeps every pixel and weighs it by a power of its entropy, mean 1 over trusted pixels.

    `w_i = v_i^a / mean_j v_j^a` with `v = H / log K` (`"uncertain"`) or `v = 1 - H / log K`
    (`"confident"`). The first is EAST's rule (arXiv 2503.23913), made for answers that had been
    checked: it learns most from what is hard. Pseudo-labels of pixels are not checked, so that the
    default is the second, which is this toolkit's. The division by the mean is too: the released
    code divides by a number given by hand. Weights can exceed 1.

    Args:
        direction: Which pixels weigh more, `"confident"` or `"uncertain"` ones.
        power: a, at least 0; 0 weighs all alike.
        ignore_rows: See `Selector`.

    Raises:
        ValueError: An argument is outside its range.

    >>> probs = torch.tensor([1.0, 0.5]).view(1, 1, 1, 2)
    >>> EntropyWeight()(torch.cat([probs, 1 - probs], 1)).weight.tolist()
    [[[2.0, 0.0]]]
    """

    def __init__(
        self,
        *,
        direction: Literal["confident", "uncertain"] = "confident",
        power: float = 1.0,
        ignore_rows: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(ignore_rows=ignore_rows)
        if direction not in ("confident", "uncertain"):
            raise ValueError(f'direction has to be "confident" or "uncertain", not {direction!r}.')
        if power < 0:
            raise ValueError(f"power has to be at least 0, not {power}.")
        self.direction, self.power = direction, power

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """One weight for each pixel."""
        entropy = -torch.xlogy(probs, probs).sum(1) / math.log(probs.shape[1])
        value = entropy if self.direction == "uncertain" else 1 - entropy
        # Rounding may leave the range by a little, where a power is not defined.
        weight = value.clamp(0, 1) ** self.power
        inside = trusted.to(weight.dtype)
        mean = summed((weight * inside).sum()) / summed(inside.sum()).clamp(min=1)
        weight = weight / mean.clamp(min=torch.finfo(weight.dtype).tiny)
        return PseudoLabel(label, weight, confidence)
