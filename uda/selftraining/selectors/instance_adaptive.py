"""Selection by class thresholds that adapt to each batch: IAST's instance adaptive selector."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from uda.processes import gathered
from uda.selftraining.selectors.base import Selector, check_threshold
from uda.structures import IGNORE_INDEX, PseudoLabel

# What a threshold that has reached 1 becomes, so that something can still be kept.
_HIGHEST = 0.999


class InstanceAdaptive(Selector):
    """Keeps a share of each class that falls with its threshold, which follows each batch.

    For each class c, with V_c its confidences in this batch and the old threshold beside them:
    `psi_c = quantile(V_c, 1 - alpha theta_c^gamma)`, linear between neighbours;
    `theta_c <- beta theta_c + (1 - beta) psi_c`, and 0.999 where that has reached 1. A pixel is
    kept, with weight 1, where its confidence is at least the *updated* threshold of its class.
    `alpha theta^gamma` is the share of pixels that psi alone would keep; a class with a low
    threshold keeps a smaller one. A class that no pixel is predicted as keeps its threshold,
    since V_c then holds nothing else. Thresholds are saved with the weights.

    Source: Mei et al., IAST, ECCV 2020; HIAST, TPAMI 2025; this is the rule of their released
    code. The IAST paper has no old threshold in V_c and keeps what is above theta, not at it.

    Works online, on crops, and for labelling a whole target set in one go. The thresholds depend
    on the order of the images, so such a pass needs a seed of its own.

    Args:
        num_classes: K.
        alpha: Share of pixels that psi keeps at threshold 1, in [0, 1]. IAST 0.2, 0.25, 0.3 in its
            three rounds, HIAST 0.5.
        beta: Share of the old threshold that is kept, in [0, 1].
        gamma: How strongly the share falls with the threshold, at least 0; 0 switches it off.
        initial: First threshold of every class, in [0, 1].
        group: `"batch"` (reference): all images of a batch share one update; the released code
            labels two at a time. `"image"`: each image updates the thresholds in turn, as the
            paper's notation has it.
        half_precision: Round confidences to float16 before the quantile (reference: True), so
            that everything above 0.99976 counts as 1; else they are taken as float32. Selection
            never rounds.
        ignore_rows: See `Selector`.

    Attributes:
        threshold: (K,) float64, the thresholds after the last batch.
        instance_threshold: (K,) float64, psi of the last batch.

    Raises:
        ValueError: A number is out of range or `group` is unknown.

    >>> selector = InstanceAdaptive(num_classes=2, beta=0.0, gamma=0.0)
    >>> confidence = torch.tensor([0.6, 0.7, 0.8])
    >>> probs = torch.stack([confidence, 1 - confidence]).view(1, 2, 1, 3)
    >>> selector(probs).label.tolist()  # the median of 0.6, 0.7, 0.8 and the old 0.9 is 0.75
    [[[255, 255, 0]]]
    """

    threshold: Tensor
    instance_threshold: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        alpha: float = 0.5,
        beta: float = 0.9,
        gamma: float = 8.0,
        initial: float = 0.9,
        group: Literal["batch", "image"] = "batch",
        half_precision: bool = False,
        ignore_rows: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(ignore_rows=ignore_rows)
        if group not in ("batch", "image"):
            raise ValueError(f'group has to be "batch" or "image", not {group!r}.')
        if gamma < 0:
            raise ValueError(f"gamma has to be at least 0 (8 in the paper), not {gamma}.")
        self.num_classes, self.gamma = num_classes, gamma
        self.group, self.half_precision = group, half_precision
        self.alpha = check_threshold(alpha, "alpha")
        self.beta = check_threshold(beta, "beta")
        first = torch.full((num_classes,), check_threshold(initial, "initial"), dtype=torch.float64)
        self.register_buffer("threshold", first)
        self.register_buffer("instance_threshold", first.clone())

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """Update the thresholds, then apply them; image by image with `group="image"`."""
        if probs.shape[1] != self.num_classes:
            raise ValueError(
                f"InstanceAdaptive has num_classes={self.num_classes}, the probabilities have "
                f"{probs.shape[1]} classes: give both the same number."
            )
        step = len(label) if self.group == "batch" else 1
        parts = []
        for first in range(0, len(label), max(step, 1)):
            part = slice(first, first + step)
            self.update(*(gathered(m[part]) for m in (label, confidence, trusted)))
            parts.append(confidence[part].double() >= self.threshold[label[part]])
        kept = torch.cat(parts)
        label = label.masked_fill(~kept, IGNORE_INDEX)
        return PseudoLabel(label, kept.to(probs.dtype), confidence)

    def update(self, label: Tensor, confidence: Tensor, trusted: Tensor) -> None:
        """Move the thresholds towards the quantiles of these pixels.

        Args:
            label: (N, H, W) int64, predicted classes.
            confidence: (N, H, W) float, probability of the predicted class.
            trusted: (N, H, W) bool, which pixels count.
        """
        if self.half_precision:
            confidence = confidence.half()
        share = 1 - self.alpha * self.threshold**self.gamma
        psi = _quantiles(label, confidence, trusted, self.threshold, share)
        self.instance_threshold.copy_(psi)
        moved = self.beta * self.threshold + (1 - self.beta) * psi
        self.threshold.copy_(torch.where(moved >= 1, _HIGHEST, moved))


def _quantiles(
    label: Tensor, confidence: Tensor, trusted: Tensor, old: Tensor, share: Tensor
) -> Tensor:
    """The quantile `share` (K,) of each class's confidences and its old threshold, exact.

    One sort over all classes; nothing waits for the device. Bits of floats that are not negative
    have the order of the floats, so that a class and the bits behind it make whole numbers to sort
    by: several times as fast as floats, and no confidence is rounded.
    """
    classes = len(old)
    # Pixels that do not count form a class of their own, which comes last.
    group = torch.where(trusted, label, classes).flatten()
    # Without the sign, so that a NaN cannot get among the numbers of another class.
    bits = confidence.flatten().float().view(torch.int32).long() & 0x7FFFFFFF
    key = ((group << 32) | bits).sort().values
    border = torch.arange(classes + 1, device=old.device) << 32
    start = torch.searchsorted(key, border)
    value = (key & 0x7FFFFFFF).int().view(torch.float32).double()
    # The old threshold, which is no float32, has its place before those that are not below it.
    next_up = old.float().view(torch.int32).long() + (old.float().double() < old)
    place = torch.searchsorted(key, border[:-1] | next_up) - start[:-1]
    last = start[1:] - start[:-1]
    # Of probabilities that are NaN the thresholds become NaN, which no index may be made of.
    position = (share * last).nan_to_num(0)
    below = position.floor().long()
    low, high = (
        _merged(value, old, start[:-1], place, rank)
        for rank in (below, torch.minimum(below + 1, last))
    )
    return low.lerp(high, position - below)


def _merged(value: Tensor, old: Tensor, start: Tensor, place: Tensor, rank: Tensor) -> Tensor:
    """The values (K,) of a rank in each class, were the old thresholds among the sorted values."""
    if len(value) == 0:
        return old
    index = start + rank - (rank > place).long()
    found = value[index.clamp(max=len(value) - 1)]
    return torch.where(rank == place, old, found)
