"""Weights from the disagreement of two teachers."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from uda.selftraining.selectors.base import Selector
from uda.structures import PseudoLabel


class TeacherDivergence(Selector):
    """Weighs pseudo-labels by how well two teachers agree; needs a `TeacherPair`.

    `w = 2 (1 - sigmoid(strength d))` with d >= 0 the symmetric Kullback-Leibler divergence of the
    two predictions, averaged over the image or taken at each pixel: 1 where they agree, towards 0
    where they do not (Ohkawa et al., ECCV 2022, arXiv 2203.08344, released code, for hands; the
    divergence and `strength` are not given there and are this toolkit's). The label is that of the
    mean of both.

    Args:
        strength: Factor on the divergence, at least 0; 0 weighs all 1.
        scope: `"image"` (reference): one weight an image. `"pixel"`: one for each pixel.
        ignore_rows: See `Selector`.

    Raises:
        ValueError: An argument is outside its range.
    """

    teachers = 2

    def __init__(
        self,
        *,
        strength: float = 1.0,
        scope: Literal["image", "pixel"] = "pixel",
        ignore_rows: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__(ignore_rows=ignore_rows)
        if strength < 0:
            raise ValueError(f"strength has to be at least 0, not {strength}.")
        if scope not in ("image", "pixel"):
            raise ValueError(f'scope has to be "image" or "pixel", not {scope!r}.')
        self.strength, self.scope = strength, scope

    @torch.no_grad()
    def forward(self, probs: Tensor, valid: Tensor | None = None) -> PseudoLabel:
        """The pseudo-label of the probabilities of two teachers, (2, N, K, H, W).

        Raises:
            ValueError: There is one teacher, or more than two.
        """
        if probs.dim() != 5 or len(probs) != 2:
            raise ValueError(
                "TeacherDivergence needs probabilities (2, N, K, H, W) of two teachers, not "
                f'{tuple(probs.shape)}: set teacher=dict(type="TeacherPair").'
            )
        confidence, label = probs.mean(0).max(1)
        trusted = self.trusted(confidence, valid)
        divergence = symmetric_divergence(probs[0], probs[1])
        if self.scope == "image":
            inside = trusted.to(divergence.dtype)
            pixels = inside.sum((1, 2), keepdim=True).clamp(min=1)
            divergence = (divergence * inside).sum((1, 2), keepdim=True) / pixels
        weight = 2 * (1 - (self.strength * divergence).sigmoid())
        return PseudoLabel(label, weight.expand_as(confidence) * trusted, confidence)


def symmetric_divergence(one: Tensor, two: Tensor) -> Tensor:
    """`(KL(p || q) + KL(q || p)) / 2` over dimension 1, at least 0; finite for one-hot ones.

    Args:
        one: (N, K, ...) probabilities.
        two: As `one`.

    Returns:
        (N, ...) float.
    """
    tiny = torch.finfo(one.dtype).tiny
    difference = one.clamp(min=tiny).log() - two.clamp(min=tiny).log()
    return ((one - two) * difference).sum(1).clamp(min=0) / 2
