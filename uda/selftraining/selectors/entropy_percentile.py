"""Selection of the pixels with the lowest entropy, a fixed share of them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from uda.processes import gathered, number, summed
from uda.selftraining.selectors.base import Selector
from uda.structures import IGNORE_INDEX, PseudoLabel

_INSIDE_LOG = 1e-10


class EntropyPercentile(Selector):
    """Drops the pixels whose entropy lies above a percentile of the batch.

    `H = -sum_k p_k log(p_k + 1e-10)`; a pixel is kept where H is at most the percentile of H over
    all trusted pixels (linear interpolation between ranks, as NumPy does). The semi-supervised
    release of FST takes it over from U2PL (Wang et al., CVPR 2022).

    Args:
        percentile: Share of trusted pixels to keep, in percent, above 0 and at most 100; 80 in the
            release's VOC settings.
        boundary: What becomes of pixels exactly at the percentile: `"keep"` (clean), or `"drop"`
            (reference), which drops one pixel even at 100.
        rescale: Multiply the weight of kept pixels by `pixels / kept pixels`, so that a batch in
            which little is kept weighs no less (reference, for `average="valid"`). It gives weights
            above 1.
        ignore_rows: See `Selector`.

    Raises:
        ValueError: An argument is outside its range.

    >>> probs = torch.tensor([0.99, 0.9, 0.8, 0.6]).view(1, 1, 1, 4)
    >>> EntropyPercentile(percentile=50)(torch.cat([probs, 1 - probs], 1)).label.tolist()
    [[[0, 0, 255, 255]]]
    """

    def __init__(
        self,
        *,
        percentile: float = 80.0,
        boundary: Literal["keep", "drop"] = "keep",
        rescale: bool = False,
        ignore_rows: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(ignore_rows=ignore_rows)
        if not 0 < percentile <= 100:
            raise ValueError(f"percentile has to lie above 0 and at most 100, not {percentile}.")
        if boundary not in ("keep", "drop"):
            raise ValueError(f'boundary has to be "keep" or "drop", not {boundary!r}.')
        self.percentile, self.boundary, self.rescale = percentile, boundary, rescale

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """Reject what is too uncertain."""
        entropy = -(probs * (probs + _INSIDE_LOG).log()).sum(1)
        limit = quantile_where(gathered(entropy), gathered(trusted), self.percentile / 100)
        kept = (entropy <= limit) if self.boundary == "keep" else (entropy < limit)
        kept &= trusted
        weight = kept.to(probs.dtype)
        if self.rescale:
            count = summed(kept.sum()).clamp(min=1).to(probs.dtype)
            weight = weight * (kept.numel() * number() / count)
        return PseudoLabel(label.masked_fill(~kept, IGNORE_INDEX), weight, confidence)


def quantile_where(values: Tensor, mask: Tensor, share: float) -> Tensor:
    """The quantile of the values where `mask` is True; nothing waits for the device.

    Args:
        values: (...) float.
        mask: (...) bool, same shape.
        share: In [0, 1]; linear interpolation between ranks.

    Returns:
        A scalar; infinite if the mask is empty.

    >>> quantile_where(torch.tensor([3.0, 1.0, 9.0]), torch.tensor([True, True, False]), 0.5)
    tensor(2.)
    """
    ordered = values.masked_fill(~mask, torch.inf).flatten().sort().values
    rank = share * (mask.sum() - 1).clamp(min=0).to(values.dtype)
    low, high = (ordered.gather(0, r.long().view(1)) for r in (rank.floor(), rank.ceil()))
    # Equal ends need no interpolation, which would give NaN for infinite ones.
    return torch.where(low == high, low, low.lerp(high, rank - rank.floor())).squeeze(0)
