"""What all selectors share: the call, and the pixels of which nothing may be believed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uda.structures import PseudoLabel


class Selector(nn.Module):
    """Turns probabilities into a `PseudoLabel`; a subclass writes `select`.

    Args:
        ignore_rows: Rows at the top and at the bottom of the crop whose pseudo-labels get weight
            0, in pixels. DAFormer uses (15, 120) for Cityscapes resized to 1024x512 and cropped
            to 512x512: the ego vehicle and the rectification border. These are rows of the crop,
            right only where the crop is as high as the resized image; for other crops mark the
            pixels in `Unlabelled.valid`.

    Attributes:
        teachers: How many teachers' probabilities it needs; the others take the mean of several.

    Raises:
        ValueError: A number of rows is negative.
    """

    teachers = 1

    def __init__(self, *, ignore_rows: tuple[int, int] = (0, 0)) -> None:
        super().__init__()
        top, bottom = ignore_rows
        if top < 0 or bottom < 0:
            raise ValueError(f"ignore_rows has to be two numbers of rows >= 0, not {ignore_rows}.")
        self.ignore_rows = (top, bottom)

    @torch.no_grad()
    def forward(self, probs: Tensor, valid: Tensor | None = None) -> PseudoLabel:
        """The pseudo-label of `probs` (N, K, H, W), trusted only where `valid` (N, H, W).

        Of several teachers, (T, N, K, H, W), the mean is taken.
        """
        probs = probs.mean(0) if probs.dim() == 5 else probs
        confidence, label = probs.max(1)
        trusted = self.trusted(confidence, valid)
        pseudo = self.select(probs, label, confidence, trusted)
        pseudo.weight.mul_(trusted)
        return pseudo

    def trusted(self, confidence: Tensor, valid: Tensor | None) -> Tensor:
        """Where a pseudo-label may be believed at all: (N, H, W) bool."""
        trusted = torch.ones_like(confidence, dtype=torch.bool)
        top, bottom = self.ignore_rows
        if top + bottom > 0:
            trusted[:, :top] = False
            trusted[:, max(trusted.shape[1] - bottom, 0) :] = False
        return trusted if valid is None else trusted & valid

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """The rule itself.

        Args:
            probs: (N, K, H, W) in [0, 1].
            label: (N, H, W) int64, their argmax.
            confidence: (N, H, W), their maximum.
            trusted: (N, H, W) bool; elsewhere the weight becomes 0 whatever is returned, and
                statistics should not be taken.
        """
        raise NotImplementedError(f"{type(self).__name__} has to define `select`.")


def check_threshold(threshold: float, name: str = "threshold") -> float:
    """`threshold` if it is a probability; else a ValueError naming the argument."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"{name} is a probability in [0, 1], not {threshold}.")
    return threshold
