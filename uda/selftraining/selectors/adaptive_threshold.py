"""Thresholds that follow what the teacher has learnt: FreeMatch and FlexMatch, for pixels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from uda.processes import summed
from uda.selftraining.selectors.base import Selector, check_threshold
from uda.structures import IGNORE_INDEX, PseudoLabel


class AdaptiveThreshold(Selector):
    """Keeps pixels above a threshold of their class that rises with what has been learnt.

    Both rules were published for the classification of images, after the semi-supervised
    collection of Microsoft's `Semi-supervised-learning`; taking pixels as samples, with averages in
    place of a memory of samples, is this toolkit's decision. All statistics are taken over trusted
    pixels, first updated and then used, once a call; they are saved with the weights.

    `"freematch"` (Wang et al., ICLR 2023): `t <- m t + (1 - m) mean(c)`,
    `p~ <- m p~ + (1 - m) mean(p)`; kept where `c >= t p~_y / max_k p~_k`. Both begin at 1/K, so
    that nearly all pixels pass at first; with m = 0.999 for some thousand iterations.

    `"flexmatch"` (Zhang et al., NeurIPS 2021): `s_k` is the averaged share of pixels of class k
    with `c >= threshold`, `u` that of all pixels below it; `b_k = s_k / max(max_j s_j, u)`; kept
    where `c >= threshold b_y / (2 - b_y)`.

    Args:
        num_classes: K.
        rule: `"freematch"` or `"flexmatch"`.
        momentum: m, share of the old statistics that is kept, in [0, 1].
        threshold: FlexMatch: the fixed threshold, in [0, 1].
        maximum: FreeMatch: the global threshold t is at most this, in [0, 1].
        ignore_rows: See `Selector`.

    Raises:
        ValueError: An argument is outside its range.

    >>> selector = AdaptiveThreshold(num_classes=2, momentum=0.0)
    >>> probs = torch.tensor([0.9, 0.7]).view(1, 1, 1, 2)  # t = 0.8, both of class 0
    >>> selector(torch.cat([probs, 1 - probs], 1)).label.tolist()
    [[[0, 255]]]
    """

    mean_confidence: Tensor
    class_share: Tensor
    unused: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        rule: Literal["freematch", "flexmatch"] = "freematch",
        momentum: float = 0.999,
        threshold: float = 0.95,
        maximum: float = 1.0,
        ignore_rows: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(ignore_rows=ignore_rows)
        if rule not in ("freematch", "flexmatch"):
            raise ValueError(f'rule has to be "freematch" or "flexmatch", not {rule!r}.')
        self.rule, self.num_classes = rule, num_classes
        self.momentum = check_threshold(momentum, "momentum")
        self.threshold = check_threshold(threshold)
        self.maximum = check_threshold(maximum, "maximum")
        start = 1 / num_classes if rule == "freematch" else 0.0
        self.register_buffer("mean_confidence", torch.full((), 1 / num_classes))
        self.register_buffer("class_share", torch.full((num_classes,), start))
        self.register_buffer("unused", torch.ones(()))

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """Update the statistics with this batch, then apply them."""
        rule = self._freematch if self.rule == "freematch" else self._flexmatch
        limits = rule(probs, label, confidence, trusted).to(confidence.dtype)
        kept = confidence >= limits[label]
        label = label.masked_fill(~kept, IGNORE_INDEX)
        return PseudoLabel(label, kept.to(probs.dtype), confidence)

    def _freematch(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> Tensor:
        pixels = summed(trusted.sum())
        count = pixels.clamp(min=1)
        inside = trusted.to(probs.dtype)
        self._follow(self.mean_confidence, summed((confidence * inside).sum()) / count, pixels)
        self.mean_confidence.clamp_(max=self.maximum)
        shares = summed((probs * inside.unsqueeze(1)).sum((0, 2, 3))) / count
        self._follow(self.class_share, shares, pixels)
        return self.mean_confidence * self.class_share / self.class_share.max()

    def _flexmatch(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> Tensor:
        pixels = summed(trusted.sum())
        sure = (trusted & (confidence >= self.threshold)).flatten().to(self.class_share.dtype)
        counts = torch.zeros_like(self.class_share).scatter_add_(0, label.flatten(), sure)
        share = summed(counts) / pixels.clamp(min=1)
        self._follow(self.class_share, share, pixels)
        self._follow(self.unused, 1 - share.sum(), pixels)
        best = torch.maximum(self.class_share.max(), self.unused)
        learnt = self.class_share / best.clamp(min=torch.finfo(best.dtype).tiny)
        return self.threshold * learnt / (2 - learnt)

    def _follow(self, average: Tensor, value: Tensor, pixels: Tensor) -> None:
        """Move an average, unless there was no pixel to learn from."""
        moved = average.lerp(value.to(average.dtype), 1 - self.momentum)
        average.copy_(torch.where(pixels > 0, moved, average))
