"""Selection by a confidence threshold of each class."""

from __future__ import annotations

import torch
from torch import Tensor

from uda.processes import summed
from uda.selftraining.selectors.base import Selector, check_threshold
from uda.structures import IGNORE_INDEX, PseudoLabel


class ClassBalancedThreshold(Selector):
    """Keeps the most confident share of each class, so that hard classes are not starved.

    The threshold of class k is the running `1 - share` quantile of the confidences of the pixels
    predicted as k, at most `maximum`: `t_k <- m t_k + (1 - m) quantile_k`, and a pixel is kept
    where `max p >= t_argmax`. This is class-balanced self-training (Zou et al., ECCV 2018) made
    online: the original computes the thresholds once a round over the whole target set, and
    labels with `argmax p_k / t_k`. A class absent from a batch keeps its threshold; its first
    appearance sets it. Thresholds and counter are saved with the weights.

    Args:
        num_classes: K.
        share: Share of each class to keep, in [0, 1]; 0.5 puts the threshold at the median.
        maximum: A pixel at least this confident is kept whatever its class.
        momentum: m, share of the old threshold that is kept an iteration, in [0, 1].
        ramp: Number of iterations over which the weight of kept pixels rises from 0 to 1.
        ignore_rows: See `Selector`.
    """

    bins = 1024
    threshold: Tensor
    seen: Tensor
    iteration: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        share: float = 0.5,
        maximum: float = 0.968,
        momentum: float = 0.99,
        ramp: int = 0,
        ignore_rows: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(ignore_rows=ignore_rows)
        if ramp < 0:
            raise ValueError(f"ramp is a number of iterations >= 0, not {ramp}.")
        self.num_classes, self.ramp = num_classes, ramp
        self.share = check_threshold(share, "share")
        self.maximum = check_threshold(maximum, "maximum")
        self.momentum = check_threshold(momentum, "momentum")
        self.register_buffer("threshold", torch.full((num_classes,), maximum))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """Update the thresholds with this batch, then apply them."""
        self._update(label, confidence, trusted)
        kept = confidence >= self.threshold.to(confidence.dtype)[label]
        ramp = (self.iteration / self.ramp).clamp(max=1) if self.ramp else 1.0
        self.iteration += 1
        return PseudoLabel(label.masked_fill(~kept, IGNORE_INDEX), kept * ramp, confidence)

    def _update(self, label: Tensor, confidence: Tensor, trusted: Tensor) -> None:
        quantile, present = self._quantiles(label, confidence, trusted)
        smoothed = torch.where(
            self.seen, self.threshold.lerp(quantile, 1 - self.momentum), quantile
        )
        smoothed = smoothed.clamp(max=self.maximum)
        self.threshold.copy_(torch.where(present, smoothed, self.threshold))
        self.seen |= present

    def _quantiles(
        self, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The quantile of each class, by a histogram, so that nothing waits for the device."""
        bins, classes = self.bins, self.num_classes
        place = (confidence * bins).long().clamp(0, bins - 1) + label * bins
        counts = torch.zeros(classes * bins, dtype=torch.int64, device=label.device)
        counts.scatter_add_(0, place.flatten(), trusted.flatten().long())
        counts = summed(counts).view(classes, bins)
        total = counts.sum(1, keepdim=True)
        # The lowest bin with at least `1 - share` of the class below or in it.
        reached = counts.cumsum(1) >= ((1 - self.share) * total).ceil().clamp(min=1)
        lower_edge = reached.to(torch.int8).argmax(1).to(self.threshold.dtype) / bins
        return lower_edge, total.squeeze(1) > 0
