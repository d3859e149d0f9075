"""The samples a loss is taken over: images, or the pixels of a dense prediction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PixelSettings:
    """How pixels enter a loss; images of a classifier are told apart by `valid` alone.

    Args:
        confidence: Pixels whose highest probability is below it have weight 0; in [0, 1].
        class_balance: Exponent b in [0, 1]: a pixel of predicted class k gets a weight in
            proportion to share_k^-b, so that road and sky do not swallow small classes. 0 counts
            each pixel alike (every published method), 1 each class.
        max_pixels: At most so many pixels, drawn at random, enter a loss; None: all. This bounds
            the memory of the loss, not that of the network.

    Raises:
        ValueError: An argument is out of range.
    """

    confidence: float = 0.0
    class_balance: float = 0.0
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        for name in ("confidence", "class_balance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} has to lie in [0, 1], not {getattr(self, name)}.")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ValueError(f"max_pixels has to be at least 1 or None, not {self.max_pixels}.")


class Samples:
    """A choice of samples with a weight each, shared by all maps of one step.

    Args:
        logits: (N, K) or (N, K, H, W); what is chosen and weighted by.
        valid: (N,) or (N, H, W) bool, False where nothing may be learnt (padding, the ego vehicle).
        pixels: Settings of dense predictions.
        generator: Of the device CPU; draws the pixels.

    Raises:
        ValueError: `valid` has another shape than the predictions.
    """

    def __init__(
        self,
        logits: Tensor,
        valid: Tensor | None,
        pixels: PixelSettings,
        generator: torch.Generator,
    ) -> None:
        wanted = torch.Size((logits.shape[0], *logits.shape[2:]))
        if valid is not None and valid.shape != wanted:
            raise ValueError(
                f"valid has shape {tuple(valid.shape)}, but logits of shape {tuple(logits.shape)} "
                f"need {tuple(wanted)}; True marks what may be learnt from."
            )
        dense = logits.ndim > 2
        count = wanted.numel()
        limit = pixels.max_pixels
        self.index: Tensor | None = None
        if dense and limit is not None and count > limit:
            drawn = torch.randperm(count, generator=generator)[:limit]
            self.index = drawn.to(logits.device)
        self.valid = None if valid is None else self.of_map(valid)
        with torch.no_grad():
            self.weight = self._weights(self.of(logits), pixels if dense else PixelSettings())

    def of(self, logits: Tensor) -> Tensor:
        """The chosen samples of a map with classes: (N, K, ...) as it is, or (P, K)."""
        if self.index is None:
            return logits
        return logits.movedim(1, -1).reshape(-1, logits.shape[1])[self.index]

    def of_map(self, values: Tensor) -> Tensor:
        """The chosen samples of a map without classes: (N, ...) as it is, or (P,)."""
        return values if self.index is None else values.reshape(-1)[self.index]

    def mean(self, losses: Tensor, keep: Tensor | None = None) -> Tensor:
        """The weighted mean of a loss map over samples where `keep` is True.

        Args:
            losses: Of chosen samples.
            keep: Bool of the same shape; None keeps all.

        Returns:
            A scalar; 0 with zero gradient where nothing is kept.
        """
        if keep is None and self.weight is None:
            return losses.mean()
        weight = self.kept(keep, losses)
        # where, not a product: an infinite loss of a sample left out must not become NaN
        total = torch.where(weight > 0, losses, 0.0).mul(weight).sum()
        return total / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)

    def kept(self, keep: Tensor | None, like: Tensor) -> Tensor:
        """The weight of each sample, 0 where `keep` is False, in the type of `like`."""
        weight = torch.ones_like(like) if self.weight is None else self.weight.to(like.dtype)
        return weight.detach() if keep is None else (weight * keep).detach()

    def _weights(self, logits: Tensor, pixels: PixelSettings) -> Tensor | None:
        """None where all count alike."""
        weight = None if self.valid is None else self.valid.to(logits.dtype)
        if pixels.confidence == 0 and pixels.class_balance == 0:
            return weight
        confidence, label = logits.softmax(1).max(1)
        if weight is None:
            weight = torch.ones_like(confidence)
        weight = weight * (confidence >= pixels.confidence)
        if pixels.class_balance > 0:
            counts = torch.zeros(logits.shape[1], dtype=weight.dtype, device=weight.device)
            counts = counts.scatter_add(0, label.reshape(-1), weight.reshape(-1))
            shares = counts / counts.sum().clamp(min=1)
            weight = weight * shares.clamp(min=1e-12).pow(-pixels.class_balance)[label]
        return weight
