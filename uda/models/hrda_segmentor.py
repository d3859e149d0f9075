"""HRDA: a whole image at low resolution, a part of it at high resolution, and their fusion."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from uda.models.detail_windows import (
    alignment,
    draw_box,
    scaled,
    scaled_size,
    sliding_boxes,
)
from uda.models.scale_fusion import fuse, inside, padded, placed, resized
from uda.structures import Box, NetworkOutput, Region

ContextLogits = Literal["plain", "weighted"]


class HRDASegmentor(EncoderDecoder):
    """Logits of a context image and of detail crops, weighed by a learnt scale attention.

    With `c` the logits of the image at `context_scale`, `d` those of a crop of the image at
    `detail_scale`, both from the same encoder and head, and `a` in [0, 1] the scale attention,
    read off the context's features (Hoyer et al., HRDA, ECCV 2022, section 3; `hrda_head.py`):

        fused = up(a') * placed(d) + up((1 - a') * c),   a' = a inside the crop, 0 outside

    `placed` fills the image outside the crop with zeros; `up` is bilinear, to the grid of `d`.
    While training, one crop of `detail_size` is drawn for the whole batch, and the loss is
    `(1 - detail_weight - context_weight) CE(fused) + detail_weight CE(d)` plus, if wanted,
    `context_weight CE(c)`. Otherwise windows of `detail_size` cover the image, run as one batch,
    and are averaged where they overlap; `a' = a` everywhere.

    The box of a pass is an argument and comes back in its output: nothing is kept between passes.
    Sizes while training have to be multiples of `step`; other images are padded for a prediction,
    at the bottom and to the right.

    Args:
        backbone: mmseg's config of the encoder.
        decode_head: Config of the head, which context and detail share.
        detail_size: (height, width) of detail crops and windows in pixels of the image.
        attention_head: Config of the head of the scale attention, with K outputs, or 1 for all
            classes together; in the paper `DAFormerHead` with `fusion="conv1x1"`. None needs
            `fixed_attention`.
        fixed_attention: A constant in [0, 1] in its place (ablation; 0.5 averages).
        detail_stride: Steps of the windows; None: half of `detail_size`, rounded down to `step`.
            As large as `detail_size` they do not overlap (ablation).
        context_scale: Factor on the image for the context; 0.5 in the paper, 0.25 and 0.75 in
            ablations.
        detail_scale: Factor for the detail; equal to `context_scale` in the ablation "same scale".
        blur_detail: The detail image is reduced by this factor and enlarged again (ablation, 2);
            1 leaves it.
        detail_weight: Weight of the loss of the detail crop, in [0, 1]; 0.1 in the paper.
        context_weight: Weight of the loss of the context alone, 0 in the paper.
        context_logits: What that loss is of: `"plain"`: c (clean). `"weighted"`: (1 - a') c, as
            the released code overwrites c before it takes the loss (reference).
        last_offset: Whether the drawn crop may touch the lower and right border; see `draw_box`.
            True is clean, False reference.
        output_stride: Pixels between logits of `decode_head`: 4 for DAFormer's, 8 for DeepLabV2's.
        divisor: A further multiple that sizes and offsets have to keep, for encoders that need
            one, such as 28 for patches of 14 at a context of 0.5.
        neck: mmseg's config of a neck, or None.
        auxiliary_head: Config of heads on the context's features, or None.
        train_cfg: mmseg's.
        test_cfg: mmseg's: `mode="whole"`, or `"slide"` with `crop_size` and `stride`, which in the
            paper are the training crop and half of it.
        data_preprocessor: mmseg's.
        pretrained: mmseg's, which its own loading of a model sets to None.
        init_cfg: mmengine's.

    Attributes:
        step: Sizes and offsets are multiples of it, in pixels.

    Raises:
        ValueError: Settings that do not fit together, or outside their range.
    """

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any],
        decode_head: Mapping[str, Any],
        detail_size: Sequence[int],
        attention_head: Mapping[str, Any] | None = None,
        fixed_attention: float | None = None,
        detail_stride: Sequence[int] | None = None,
        context_scale: float = 0.5,
        detail_scale: float = 1.0,
        blur_detail: int = 1,
        detail_weight: float = 0.1,
        context_weight: float = 0.0,
        context_logits: ContextLogits = "plain",
        last_offset: bool = True,
        output_stride: int = 4,
        divisor: int = 1,
        neck: Mapping[str, Any] | None = None,
        auxiliary_head: Any = None,
        train_cfg: Any = None,
        test_cfg: Any = None,
        data_preprocessor: Any = None,
        pretrained: str | None = None,
        init_cfg: Any = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            decode_head=decode_head,
            neck=neck,
            auxiliary_head=auxiliary_head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            pretrained=pretrained,
            init_cfg=init_cfg,
        )
        _check_scales(context_scale, detail_scale, output_stride, divisor, blur_detail)
        _check_weights(detail_weight, context_weight, context_logits)
        self.context_scale, self.detail_scale = float(context_scale), float(detail_scale)
        self.blur_detail, self.output_stride = blur_detail, output_stride
        self.detail_weight, self.context_weight = detail_weight, context_weight
        self.context_logits, self.last_offset = context_logits, last_offset
        self.step = math.lcm(alignment(output_stride, context_scale, detail_scale), divisor)
        self.detail_size = _multiple("detail_size", detail_size, self.step)
        half = [max(self.step, side // 2 // self.step * self.step) for side in self.detail_size]
        self.detail_stride = _multiple("detail_stride", detail_stride or half, self.step)
        _check_stride(self.detail_stride, self.detail_size)
        self.fixed_attention = fixed_attention
        self.attention_head = _attention(attention_head, fixed_attention, self.num_classes)

    def draw_box(self, size: Sequence[int]) -> Box:
        """The detail crop of a training pass over images of a size, from torch's generator.

        Raises:
            ValueError: The size is no multiple of `step`, or smaller than `detail_size`.
        """
        self.check_size(size)
        return draw_box(size, self.detail_size, step=self.step, include_last=self.last_offset)

    def check_size(self, size: Sequence[int]) -> None:
        """Refuse images that a training pass cannot take.

        Raises:
            ValueError: The size is no multiple of `step`, or smaller than `detail_size`.
        """
        shown = f"{size[0]}x{size[1]} pixels (height x width)"
        if any(side % self.step for side in size):
            raise ValueError(
                f"HRDA trains on images whose height and width are multiples of {self.step}, so "
                f"that the grids of context and detail meet; these have {shown}. Take another "
                f"crop_size, such as {_nearest(size, self.step)}."
            )
        if any(side < inner for side, inner in zip(size, self.detail_size, strict=True)):
            raise ValueError(
                f"HRDA: detail_size={self.detail_size} is larger than the training images, which "
                f"have {shown}. Take a smaller detail_size, such as half of the crop."
            )

    def output(self, image: Tensor, box: Box | None = None) -> NetworkOutput:
        """One pass.

        Args:
            image: (N, 3, H, W) float, normalised.
            box: The detail crop of a training pass, from `draw_box`; None predicts with windows.

        Returns:
            Logits at the size of the image and the features of the context; with a box also the
            regions "detail" and "context" that have a loss of their own, and the share of the
            logits' loss.

        Raises:
            ValueError: `output_stride` is not the head's.
        """
        size = image.shape[2:]
        if box is None:
            image = padded(image, self.step)
        features = self.context_features(image)
        context = self._logits(features, scaled_size(image.shape[2:], self.context_scale))
        attention = self._attention(features, context)
        detail_image = self._detail_image(image)
        if box is None:
            detail = self._windows(detail_image, image.shape[2:])
            fused, _ = fuse(context, detail, attention, align_corners=self.align_corners)
            logits = self._up(fused, image.shape[2:])
            return NetworkOutput(Box(0, size[0], 0, size[1]).cut(logits), features)
        crop = self._crop(detail_image, box)
        grid = scaled(box, self.context_scale / self.output_stride)
        attention = attention * inside(grid, context)
        detail = placed(crop, scaled(box, self._fine), scaled_size(size, self._fine))
        fused, weighted = fuse(context, detail, attention, align_corners=self.align_corners)
        plain = self.context_logits == "plain"
        maps = {"detail": (crop, box, self.detail_weight)}
        whole = Box(0, size[0], 0, size[1])
        maps["context"] = (context if plain else weighted, whole, self.context_weight)
        regions = tuple(
            Region(name, self._up(logits, place.size), place, weight)
            for name, (logits, place, weight) in maps.items()
            if weight > 0
        )
        share = 1 - self.detail_weight - self.context_weight
        return NetworkOutput(self._up(fused, size), features, (), regions, share)

    def encode_decode(self, inputs: Tensor, batch_img_metas: Any = None) -> Tensor:
        """Logits at the size of the images, as mmseg's inference asks for them."""
        return self.output(inputs).logits

    def _forward(self, inputs: Tensor, data_samples: Any = None) -> Tensor:
        return self.output(inputs).logits

    def loss(self, inputs: Tensor, data_samples: Any) -> dict[str, Tensor]:
        """Refuse: the loss needs the box of the pass, which a method of this project has.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "HRDASegmentor is trained by a method of uda (model=dict(type='DomainAdaptation', "
            "...)), for labels alone by SourceOnly; mmseg's own training loop does not know its "
            "detail loss."
        )

    def context_features(self, image: Tensor) -> tuple[Tensor, ...]:
        """The encoder's maps of the context, fine to coarse."""
        found: Any = self.extract_feat(resized(image, self.context_scale))
        return (found,) if isinstance(found, Tensor) else tuple(found)

    @property
    def _fine(self) -> float:
        """Logits of the detail a pixel of the image."""
        return self.detail_scale / self.output_stride

    def _attention(self, features: tuple[Tensor, ...], context: Tensor) -> Tensor:
        if self.attention_head is None:
            return torch.full_like(context[:, :1], float(self.fixed_attention or 0.0))
        attention: Tensor = self.attention_head(features).sigmoid()
        if attention.shape[2:] == context.shape[2:]:
            return attention
        return self._up(attention, context.shape[2:])

    def _detail_image(self, image: Tensor) -> Tensor:
        if self.blur_detail > 1:
            small = resized(image, 1 / self.blur_detail)
            image = F.interpolate(small, image.shape[2:], mode="bilinear", align_corners=False)
        return resized(image, self.detail_scale)

    def _crop(self, detail_image: Tensor, box: Box) -> Tensor:
        """Logits of a part of the detail image; the box is in pixels of the image."""
        part = scaled(box, self.detail_scale).cut(detail_image)
        return self._logits(self.extract_feat(part), part.shape[2:])

    def _windows(self, detail_image: Tensor, size: Sequence[int]) -> Tensor:
        """Logits of the whole detail image: the mean over windows, all run as one batch."""
        boxes = sliding_boxes(size, self.detail_size, self.detail_stride)
        parts = [scaled(box, self.detail_scale).cut(detail_image) for box in boxes]
        batch = torch.cat(parts)
        windows = self._logits(self.extract_feat(batch), batch.shape[2:]).chunk(len(boxes))
        grid = scaled_size(size, self._fine)
        total = windows[0].new_zeros(*windows[0].shape[:2], *grid)
        count = windows[0].new_zeros(1, 1, *grid)
        for box, logits in zip(boxes, windows, strict=True):
            place = scaled(box, self._fine)
            # out of place: prediction may be under a graph, in test-time adaptation
            total = total + placed(logits, place, grid)
            place.cut(count).add_(1)
        return total / count

    def _logits(self, features: Any, size: Sequence[int]) -> Tensor:
        logits: Tensor = self.decode_head(features)
        wanted = tuple(side // self.output_stride for side in size)
        if tuple(logits.shape[2:]) != wanted:
            stride = size[0] / logits.shape[2]
            raise ValueError(
                f"HRDA: an image of {size[0]}x{size[1]} pixels gave logits of "
                f"{logits.shape[2]}x{logits.shape[3]}, not {wanted[0]}x{wanted[1]} as with "
                f"output_stride={self.output_stride}; set output_stride={round(stride)}, and "
                "divisor if the encoder needs sizes of a certain multiple."
            )
        return logits

    def _up(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        return F.interpolate(
            logits, tuple(size), mode="bilinear", align_corners=bool(self.align_corners)
        )


def _attention(
    config: Mapping[str, Any] | None, fixed: float | None, num_classes: int
) -> nn.Module | None:
    if (config is None) == (fixed is None):
        given = "neither" if config is None else "both"
        raise ValueError(
            "HRDA: give either attention_head, the head of the scale attention, or "
            f"fixed_attention, a constant; got {given}."
        )
    if config is None:
        if not 0 <= float(fixed or 0.0) <= 1:
            raise ValueError(f"HRDA: fixed_attention has to lie in [0, 1], not {fixed}.")
        return None
    with warnings.catch_warnings():
        # mmseg warns of one output without a threshold: this one is no class.
        warnings.simplefilter("ignore", UserWarning)
        head: nn.Module = MODELS.build(dict(config))
    outputs: Any = head.out_channels
    if outputs not in (1, num_classes):
        raise ValueError(
            f"HRDA: attention_head has num_classes={outputs}; it needs {num_classes}, a weight a "
            "class as decode_head has them, or 1 for all classes together."
        )
    return head


def _check_scales(context: float, detail: float, stride: int, divisor: int, blur: int) -> None:
    if not 0 < context <= detail <= 1:
        raise ValueError(
            "HRDA: 0 < context_scale <= detail_scale <= 1 is wanted, got context_scale="
            f"{context} and detail_scale={detail}."
        )
    for name, value in (("output_stride", stride), ("divisor", divisor), ("blur_detail", blur)):
        if value < 1:
            raise ValueError(f"HRDA: {name} has to be at least 1, not {value}.")


def _check_weights(detail: float, context: float, logits: str) -> None:
    if detail < 0 or context < 0 or detail + context > 1:
        raise ValueError(
            "HRDA: detail_weight and context_weight are parts of the loss, at least 0 and "
            f"together at most 1; got {detail} and {context}."
        )
    if logits not in ("plain", "weighted"):
        raise ValueError(f'HRDA: context_logits has to be "plain" or "weighted", not {logits!r}.')


def _multiple(name: str, size: Sequence[int], step: int) -> tuple[int, int]:
    height, width = int(size[0]), int(size[1])
    if height < step or width < step or height % step or width % step:
        raise ValueError(
            f"HRDA: {name}={(height, width)} has to be multiples of {step} (height, width), so "
            f"that the grids of context and detail meet; such as {_nearest(size, step)}."
        )
    return height, width


def _check_stride(stride: tuple[int, int], size: tuple[int, int]) -> None:
    if any(moved > side for moved, side in zip(stride, size, strict=True)):
        raise ValueError(
            f"HRDA: detail_stride={stride} leaves gaps between windows of detail_size={size}; it "
            "can be at most as large."
        )


def _nearest(size: Sequence[int], step: int) -> tuple[int, int]:
    height, width = (max(step, round(side / step) * step) for side in size)
    return height, width
