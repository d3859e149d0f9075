"""A segmentor as a plain network, image in and logits out, that exporters can follow."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from uda.models import SegmentationNetwork
from uda.models.daformer_head import DAFormerHead
from uda.models.detail_windows import sliding_boxes
from uda.models.hrda_segmentor import HRDASegmentor
from uda.models.sliding_segmentor import SlidingSegmentor

MULTIPLE = 32
"""Sides of images that a graph of any size takes are multiples of it: the coarsest stride."""

SMALLEST = 2 * MULTIPLE
"""From which on: exporters take a side of 1, which the coarsest map would have, for a constant."""


class ExportNetwork(nn.Module):
    """Logits (N, K, H, W) of images (N, 3, H, W), as the segmentor's inference gives them.

    It predicts whole or by sliding windows, as `test_cfg` says; the number of windows is part of
    the graph, which therefore takes one size. What mmseg does with values of tensors on the way,
    which no exporter can follow, is left out.

    Args:
        segmentor: mmseg's, in evaluation mode; it is copied, to the CPU.
        mean: (3,) of RGB in 0..255, subtracted from the image; None: images come normalised.
        std: (3,), what the rest is divided by; needed with `mean`.
        any_size: Images of any height and width that are multiples of `MULTIPLE`, from `SMALLEST`
            on.
        any_number: Any number of images.

    Raises:
        ValueError: Any size was asked of a network that slides windows over the image, or any
            number of HRDA.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self,
        segmentor: nn.Module,
        *,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        any_size: bool = False,
        any_number: bool = False,
    ) -> None:
        super().__init__()
        if any_size:
            check_any_size(segmentor)
        if any_number and isinstance(segmentor, HRDASegmentor):
            raise ValueError(
                f"{type(segmentor).__name__} runs the windows of all images as one batch, whose "
                'number is part of the exported graph: export with dynamic="none" and the batch '
                "you need, once for each."
            )
        self.network = SegmentationNetwork(copy.deepcopy(segmentor).cpu())
        self.register_buffer("mean", None if mean is None else mean.detach().cpu().view(1, 3, 1, 1))
        self.register_buffer("std", None if std is None else std.detach().cpu().view(1, 3, 1, 1))
        for module in self.network.modules():
            if isinstance(module, DAFormerHead):
                # The other order takes matrices that are made for one size of the image.
                module.resizing = "first"
        if any_size:
            fix_same_padding(self.network)
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> Tensor:
        """The logits of `image`."""
        if self.mean is not None and self.std is not None:
            image = (image - self.mean) / self.std
        segmentor: Any = self.network.segmentor
        if not _slides(segmentor):
            whole: Tensor = self.network(image).logits
            return whole
        if isinstance(segmentor, SlidingSegmentor):
            return segmentor.slide_inference(image, [{}])
        return self._windows(image)

    def _windows(self, image: Tensor) -> Tensor:
        """The mean of the logits over windows, as mmseg's `slide_inference` takes it."""
        segmentor: Any = self.network.segmentor
        height, width = image.shape[2:]
        crop, stride = segmentor.test_cfg.crop_size, segmentor.test_cfg.stride
        boxes = sliding_boxes((height, width), crop, stride)
        total = count = torch.zeros((), dtype=image.dtype)
        for top, bottom, left, right in boxes:
            around = (left, width - right, top, height - bottom)
            logits = self.network(image[:, :, top:bottom, left:right]).logits
            total = total + F.pad(logits, around)
            count = count + F.pad(torch.ones(1, 1, bottom - top, right - left), around)
        return total / count


class _StaticSame(nn.Module):
    """A convolution whose input is padded by the same amounts whatever its size.

    TensorFlow's "same" padding depends on the size: max((ceil(n / s) - 1) s + (k - 1) d + 1 - n, 0)
    with side n, stride s, kernel k and dilation d. Where s divides n, that is (k - 1) d + 1 - s.

    Args:
        convolution: timm's, which computes its padding from each image.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        total = [
            max((k - 1) * d + 1 - s, 0)
            for k, d, s in zip(
                convolution.kernel_size, convolution.dilation, convolution.stride, strict=True
            )
        ]
        rows, columns = total
        self.around = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)

    def forward(self, maps: Tensor) -> Tensor:
        """The convolution of padded maps."""
        inner = self.convolution
        padded = F.pad(maps, self.around)
        return F.conv2d(
            padded, inner.weight, inner.bias, inner.stride, 0, inner.dilation, inner.groups
        )


def fix_same_padding(network: nn.Module) -> int:
    """How many convolutions of a network got a padding that does not depend on the image's size.

    Exporters would carry the formula of each layer through all layers after it, for minutes.

    Args:
        network: Changed in place; right for sides that are multiples of its strides.
    """
    found = [
        (parent, name, child)
        for parent in list(network.modules())
        for name, child in parent.named_children()
        if isinstance(child, Conv2dSame)
    ]
    for parent, name, child in found:
        setattr(parent, name, _StaticSame(child))
    return len(found)


def check_any_size(segmentor: Any) -> None:
    """Refuse a network whose graph depends on the size of the image.

    Raises:
        ValueError: It slides windows over the image; says what to do instead.
    """
    kind = type(segmentor).__name__
    if isinstance(segmentor, HRDASegmentor):
        reason = f"{kind} lays windows of its detail over the image"
    elif _slides(segmentor):
        reason = 'test_cfg.mode="slide" lays windows over the image'
    else:
        return
    raise ValueError(
        f"{reason}, as many as its size asks for, so that the exported graph takes one size: "
        'export with another dynamic than "size" and the size you need, once for each.'
    )


def _slides(segmentor: Any) -> bool:
    test_cfg = segmentor.test_cfg
    return bool(test_cfg is not None and test_cfg.get("mode", "whole") == "slide")
