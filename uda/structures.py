"""What travels between the rooms of the house: network outputs, batches, pseudo-labels.

Shapes: N images, K classes, H and W pixels. Everything here is a plain container.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

IGNORE_INDEX = 255


class Box(NamedTuple):
    """A rectangle of an image or map, in its pixels; `bottom` and `right` are outside.

    >>> import torch
    >>> Box(0, 1, 1, 3).cut(torch.arange(6).view(1, 2, 3)).tolist()
    [[[1, 2]]]
    """

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def cut(self, maps: Tensor) -> Tensor:
        """What lies in the box: (..., height, width) of maps (..., H, W), without a copy."""
        return maps[..., self.top : self.bottom, self.left : self.right]


class Region(NamedTuple):
    """Further logits of a training pass, for a part of its images, with a loss of their own.

    Attributes:
        name: Key of the loss in the log.
        logits: (N, K, h, w) at the size of the box.
        box: Which part of the images, the same for all of them.
        weight: Weight of the loss.
    """

    name: str
    logits: Tensor
    box: Box
    weight: float


class NetworkOutput(NamedTuple):
    """One forward pass of a segmentation network.

    Attributes:
        logits: (N, K, H, W) at the size of the input image.
        features: Encoder maps from fine to coarse, usually of strides 4, 8, 16, 32.
        auxiliary: Pairs of (logits, loss weight) of auxiliary heads; empty in evaluation.
        regions: Logits of parts of the images that are supervised as well, such as HRDA's detail
            crop; empty in evaluation.
        share: Weight of the loss of `logits` where regions have the rest of it.
    """

    logits: Tensor
    features: tuple[Tensor, ...] = ()
    auxiliary: tuple[tuple[Tensor, float], ...] = ()
    regions: tuple[Region, ...] = ()
    share: float = 1.0


@dataclass
class Labelled:
    """Images of the source domain with their labels.

    Attributes:
        image: (N, 3, H, W) float, normalised RGB.
        label: (N, H, W) int64, train ids; 255 is ignored.
    """

    image: Tensor
    label: Tensor


@dataclass
class Unlabelled:
    """Images of the target domain.

    Attributes:
        image: (N, 3, H, W) float, normalised RGB.
        valid: (N, H, W) bool, False where no pseudo-label may be taken (padding); None: all.
    """

    image: Tensor
    valid: Tensor | None = None


@dataclass
class Batch:
    """What one training iteration gets: source images, and target images if adapting.

    Attributes:
        source: Labelled images.
        target: Target images; None for training on the source alone.
        second_target: As many further target images, for methods that mix target into target.
    """

    source: Labelled
    target: Unlabelled | None = None
    second_target: Unlabelled | None = None


@dataclass
class PseudoLabel:
    """What a selector makes of the teacher's probabilities.

    Attributes:
        label: (N, H, W) int64, 255 where rejected.
        weight: (N, H, W) float in [0, 1], the loss weight of each pixel.
        confidence: (N, H, W) float in [0, 1], the highest class probability.
    """

    label: Tensor
    weight: Tensor
    confidence: Tensor


@dataclass
class Mixed:
    """A mixed image with the label and loss weight of each of its pixels.

    Attributes:
        image: (N, 3, H, W) float, normalised.
        label: (N, H, W) int64; 255 is ignored.
        weight: (N, H, W) float: 1 on source pixels, the pseudo-label's weight elsewhere.
        mask: (N, 1, H, W) bool, True where the pixel was pasted from the source image.
        valid: (N, H, W) bool, False in padding; None: all.
        teacher_probs: (N, K, H, W) float, the teacher's probabilities of the image before the
            strong view; None unless a term asks for them.
    """

    image: Tensor
    label: Tensor
    weight: Tensor
    mask: Tensor
    valid: Tensor | None = None
    teacher_probs: Tensor | None = None


def as_output(output: NetworkOutput | Tensor) -> NetworkOutput:
    """A `NetworkOutput`, whatever a network returned: itself, or plain logits.

    >>> import torch
    >>> as_output(torch.zeros(1, 2, 4, 4)).features
    ()
    """
    if isinstance(output, Tensor):
        return NetworkOutput(output)
    if isinstance(output, NetworkOutput):
        return output
    raise TypeError(
        "A network has to return logits (N, K, H, W) or a uda.structures.NetworkOutput; "
        f"it returned {type(output).__name__}. Wrap it so that it does."
    )
