"""DeYO: entropy minimisation over samples whose prediction depends on the shape of things."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.losses import entropy_map
from uda.tta.learner import Learner
from uda.tta.method import Method
from uda.tta.parameters import Parameters, trained_layers

Destroy = Literal["patch", "pixel", "occlusion"]


class DeYO(Method):
    """Entropy minimisation over samples that are sure and lose their class with their shape.

    Lee et al., "Entropy is not enough for test-time adaptation", ICLR 2024. With x' an image whose
    shapes are destroyed, PLPD is `p_y(x) - p_y(x')` for `y = argmax p(x)`. Kept are samples of
    entropy below `threshold` and PLPD above `plpd`; each weighs `exp(E0 - H) + exp(PLPD)`.
    For dense predictions p(x') is put back to the places that its patches came from.

    Args:
        threshold: Highest entropy, as a share of log K.
        margin: E0 of the weight, as a share of log K.
        plpd: Lowest PLPD, in [-1, 1].
        destroy: `"patch"`: a grid of patches in random order; `"pixel"`: all pixels; `"occlusion"`:
            a square of the image's mean colour.
        patches: Patches a side.
        occlusion: Top, left and side length of the square in pixels; None: the middle half.
        skip: As `SAR` has it.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        margin: float = 0.4,
        plpd: float = 0.2,
        destroy: Destroy = "patch",
        patches: int = 4,
        occlusion: tuple[int, int, int] | None = None,
        skip: Literal["last_quarter", "reference"] | Sequence[str] = "last_quarter",
    ) -> None:
        super().__init__()
        if threshold <= 0 or margin <= 0:
            raise ValueError("threshold and margin are shares of log K, above 0.")
        if destroy not in ("patch", "pixel", "occlusion"):
            raise ValueError(f'destroy has to be "patch", "pixel" or "occlusion", not {destroy!r}.')
        if patches < 2:
            raise ValueError(f"patches a side have to be at least 2, not {patches}.")
        self.threshold, self.margin, self.plpd = threshold, margin, plpd
        self.destroy, self.patches, self.occlusion = destroy, patches, occlusion
        self.skip = skip
        self.counts = [0, 0]

    def moves(self, network: nn.Module) -> Parameters:
        """Norm layers but the last."""
        return trained_layers(network, self.skip)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One update, if a sample is kept; the logits are those of before it."""
        logits = learner.forward(image)
        samples = learner.select(logits, valid)
        entropy = entropy_map(samples.of(logits))
        log_classes = math.log(logits.shape[1])
        sure = samples.kept(entropy < self.threshold * log_classes, entropy) > 0
        self.counts = [int(sure.sum()), 0]
        if self.counts[0] == 0:
            return logits
        drop = samples.of_map(self._drop(learner, image, logits.detach(), sure))
        keep = sure & (drop > self.plpd)
        self.counts[1] = int(keep.sum())
        if self.counts[1] == 0:
            return logits
        weight = (self.margin * log_classes - entropy.detach()).exp() + drop.exp()
        learner.minimise(samples.mean(entropy * weight, keep))
        return logits

    def _drop(self, learner: Learner, image: Tensor, logits: Tensor, sure: Tensor) -> Tensor:
        """PLPD of each prediction; of a classifier only sure images are run again."""
        probs = logits.softmax(1)
        label = probs.argmax(1, keepdim=True)
        before = probs.gather(1, label).squeeze(1)
        if logits.ndim == 2:
            chosen = sure.nonzero().squeeze(1)
            destroyed, _ = self.destroyed(image[chosen], learner.generator)
            after = learner.predict(destroyed).softmax(1).gather(1, label[chosen]).squeeze(1)
            return before - before.index_copy(0, chosen, after)
        destroyed, undo = self.destroyed(image, learner.generator)
        after = undo(learner.predict(destroyed).softmax(1))
        return before - after.gather(1, label).squeeze(1)

    def destroyed(
        self, image: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Images without shape, and the function that puts a map of them back in place."""
        if self.destroy == "occlusion":
            return self._occluded(image), lambda values: values
        if self.destroy == "pixel":
            order = torch.randperm(image[0, 0].numel(), generator=generator).to(image.device)
            shuffled = image.flatten(2)[..., order].view_as(image)
            inverse = order.argsort()
            return shuffled, lambda values: values.flatten(2)[..., inverse].view_as(values)
        order = self.permutation(len(image), generator).to(image.device)
        inverse = order.argsort(1)
        return (
            shuffle_patches(image, order, self.patches),
            lambda values: shuffle_patches(values, inverse, self.patches),
        )

    def permutation(self, images: int, generator: torch.Generator) -> Tensor:
        """The order of patches of each image: (images, patches^2) int64."""
        return torch.rand(images, self.patches**2, generator=generator).argsort(1)

    def _occluded(self, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        side = min(height, width) // 2
        top, left, side = self.occlusion or ((height - side) // 2, (width - side) // 2, side)
        occluded = image.clone()
        mean = image.flatten(2).mean(2)[..., None, None]
        occluded[:, :, top : top + side, left : left + side] = mean
        return occluded


def shuffle_patches(image: Tensor, order: Tensor, side: int) -> Tensor:
    """The patches of a grid in another order; sizes that do not divide are resized and back.

    Args:
        image: (N, C, H, W).
        order: (N, side^2) int64: which patch, row by row, comes to each place.
        side: Patches a side.
    """
    size = (image.shape[2], image.shape[3])
    fitting = (size[0] // side * side, size[1] // side * side)
    if 0 in fitting:
        raise ValueError(f"An image of {size} pixels cannot be cut into {side} x {side} patches.")
    if fitting != size:
        image = F.interpolate(image, fitting, mode="bilinear", antialias=True)
    count, channels = image.shape[:2]
    height, width = fitting[0] // side, fitting[1] // side
    patches = image.view(count, channels, side, height, side, width)
    patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(count, side * side, -1)
    patches = patches.gather(1, order.unsqueeze(2).expand_as(patches))
    patches = patches.view(count, side, side, channels, height, width)
    shuffled = patches.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, *fitting)
    if fitting != size:
        shuffled = F.interpolate(shuffled, size, mode="bilinear", antialias=True)
    return shuffled
