"""Selection by the highest class probability of a pixel."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from uda.processes import averaged
from uda.selftraining.selectors.base import Selector, check_threshold
from uda.structures import IGNORE_INDEX, PseudoLabel


class ConfidenceShare(Selector):
    """Keeps every pixel, and weighs all alike by the share of confident pixels.

    `q = mean(c >= threshold)`: the more of the prediction is confident, the more it counts
    (DACS; DAFormer, `dacs.py`).

    Args:
        threshold: Confidence from which a pixel counts as confident, in [0, 1].
        scope: `"batch"` (reference): one q for all images together, over all their pixels.
            `"image"` (clean, as in the paper): one q an image, over its trusted pixels.
        ignore_rows: See `Selector`.

    >>> import torch
    >>> probs = torch.tensor([0.99, 0.6]).view(1, 1, 1, 2)
    >>> probs = torch.cat([probs, 1 - probs], 1)
    >>> ConfidenceShare(threshold=0.9)(probs).weight.tolist()
    [[[0.5, 0.5]]]
    """

    def __init__(
        self,
        *,
        threshold: float = 0.968,
        scope: Literal["batch", "image"] = "image",
        ignore_rows: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(ignore_rows=ignore_rows)
        if scope not in ("batch", "image"):
            raise ValueError(f'scope has to be "batch" or "image", not {scope!r}.')
        self.threshold, self.scope = check_threshold(threshold), scope

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """One weight for the batch, or for each image."""
        confident = confidence >= self.threshold
        if self.scope == "batch":
            share = averaged(confident.to(probs.dtype).mean())
        else:
            trusted_pixels = trusted.sum((1, 2), keepdim=True).clamp(min=1)
            # Half precision cannot hold the number of pixels of an image.
            wide = torch.promote_types(probs.dtype, torch.float32)
            count = (confident & trusted).sum((1, 2), keepdim=True).to(wide)
            share = (count / trusted_pixels).to(probs.dtype)
        return PseudoLabel(label, share.expand_as(confidence).clone(), confidence)


class ConfidenceThreshold(Selector):
    """Keeps the pixels whose confidence reaches the threshold, with weight 1.

    `label = argmax p where max p >= threshold, else 255` (FixMatch, Sohn et al. 2020, for
    each pixel).

    Args:
        threshold: Confidence in [0, 1].
        ignore_rows: See `Selector`.
    """

    def __init__(self, *, threshold: float = 0.968, ignore_rows: tuple[int, int] = (0, 0)) -> None:
        super().__init__(ignore_rows=ignore_rows)
        self.threshold = check_threshold(threshold)

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """Reject what is below the threshold."""
        kept = confidence >= self.threshold
        label = label.masked_fill(~kept, IGNORE_INDEX)
        return PseudoLabel(label, kept.to(probs.dtype), confidence)
