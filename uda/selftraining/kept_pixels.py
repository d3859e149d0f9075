"""Statistics of the pixels that a selector keeps: how sure each class is, and where it stands."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uda.selftraining.selectors.base import check_threshold
from uda.structures import PseudoLabel

# Confidences are added up as multiples of 2^-32; float32 has no finer ones above 2^-8.
_UNITS = 2.0**32


class KeptPixels(nn.Module):
    """Mean confidence and number of the kept pixels of each class, over many batches.

    The mean s_c starts at 0. A batch in which class c keeps pixels of mean confidence m sets it to
    m if it is still 0, and else to `momentum s_c + (1 - momentum) m`; a batch without leaves it
    (HIAST, released code). Copy-paste takes its hard classes from it. All numbers are saved.

    Args:
        num_classes: K.
        momentum: Share of the old mean that is kept, in [0, 1].

    Attributes:
        class_mean: (K,) float64, s_c in [0, 1]; 0 for a class of which nothing was ever kept.
        class_pixels: (K,) int64, kept pixels of all batches.

    Raises:
        ValueError: `momentum` is out of range.

    >>> kept = KeptPixels(num_classes=2)
    >>> label = torch.tensor([[[0, 0, 255]]])
    >>> pseudo = PseudoLabel(label, torch.ones(1, 1, 3), torch.tensor([[[0.5, 1.0, 0.5]]]))
    >>> kept.update(pseudo).tolist(), kept.class_mean.tolist()
    ([[2, 0]], [0.75, 0.0])
    """

    class_mean: Tensor
    class_pixels: Tensor

    def __init__(self, *, num_classes: int, momentum: float = 0.99) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.momentum = check_threshold(momentum, "momentum")
        self.register_buffer("class_mean", torch.zeros(num_classes, dtype=torch.float64))
        self.register_buffer("class_pixels", torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def update(self, pseudo: PseudoLabel) -> Tensor:
        """Take in one batch.

        Args:
            pseudo: From a selector. Pixels of label 255 or weight 0 are not kept.

        Returns:
            (N, K) int64, kept pixels of each image and class.
        """
        images = len(pseudo.label)
        label = pseudo.label.masked_fill(pseudo.weight == 0, self.num_classes).flatten(1)
        # What is not kept, by weight or by label, forms a class of its own.
        label = label.clamp(max=self.num_classes)
        first = torch.arange(images, device=label.device).unsqueeze(1) * (self.num_classes + 1)
        place = (label + first).flatten()
        # Whole numbers: sums of floats would depend on the order of threads on a GPU.
        units = (pseudo.confidence.flatten().double() * _UNITS).round().long()
        empty = torch.zeros(images * (self.num_classes + 1), dtype=torch.int64, device=label.device)
        counts, sums = (
            empty.scatter_add(0, place, one).view(images, -1)[:, : self.num_classes]
            for one in (torch.ones_like(place), units)
        )
        pixels = counts.sum(0)
        mean = sums.sum(0).double() / _UNITS / pixels.clamp(min=1)
        moved = self.class_mean.lerp(mean, 1 - self.momentum)
        moved = torch.where(self.class_mean == 0, mean, moved)
        self.class_mean.copy_(torch.where(pixels > 0, moved, self.class_mean))
        self.class_pixels += pixels
        return counts
