"""One face for every network mmseg can build: an image in, logits and features out."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from mmseg.models.segmentors import CascadeEncoderDecoder, EncoderDecoder
from mmseg.registry import MODELS
from torch import Tensor, nn

from uda.models.batch_norm import (
    BatchNorm,
    check_batch_norm,
    freeze_affine,
    freeze_statistics,
)
from uda.models.hrda_segmentor import HRDASegmentor
from uda.models.micro_batches import in_micro_batches
from uda.models.scale_fusion import resized
from uda.structures import Box, NetworkOutput

__all__ = ["Encoder", "NetworkOutput", "SegmentationNetwork"]


class Encoder(nn.Module):
    """Backbone and neck of a segmentor, without its heads.

    Args:
        backbone: Image to maps.
        neck: Maps to maps, or None.
        scale: Factor on the image before all that; HRDA's encoder sees the context.
    """

    def __init__(
        self, backbone: nn.Module, neck: nn.Module | None = None, *, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.scale = scale

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Feature maps, fine to coarse, of an image (N, 3, H, W)."""
        maps = self.backbone(resized(image, self.scale))
        if self.neck is not None:
            maps = self.neck(maps)
        return as_maps(maps)


class SegmentationNetwork(nn.Module):
    """Logits at image size, features and auxiliary logits of an mmseg segmentor.

    The segmentor stays what it is (attribute `segmentor`), so that its state dict and config
    serve `mmseg.apis` unchanged.

    Args:
        segmentor: mmseg's `EncoderDecoder` or `CascadeEncoderDecoder`, or a subclass.
        micro_batches: Into how many parts a batch is cut where a graph is built, so that the
            activations of one part are in memory at a time; see `in_micro_batches`.
        batch_norm: What of BatchNorm learns. `"trained"`: all. `"affine_frozen"`: scale and shift
            do not, statistics are those of the batch and running ones go on (what IAST's and
            HIAST's released code, the reference, calls frozen). `"frozen"`: nothing, and the
            running statistics are used in training as well (clean). A copy, such as a teacher, does
            the same.

    Raises:
        TypeError: Another kind of segmentor.
        ValueError: A head with a single output channel (binary segmentation by threshold), or
            `micro_batches` below 1, or another `batch_norm`.
    """

    def __init__(
        self,
        segmentor: nn.Module,
        *,
        micro_batches: int = 1,
        batch_norm: BatchNorm = "trained",
    ) -> None:
        super().__init__()
        if micro_batches < 1:
            raise ValueError(f"micro_batches has to be at least 1, not {micro_batches}.")
        self.micro_batches = micro_batches
        if not isinstance(segmentor, EncoderDecoder):
            raise TypeError(
                "Wanted a segmentor of kind EncoderDecoder or CascadeEncoderDecoder (or a "
                f"subclass) from mmseg; got {type(segmentor).__name__}. For another network "
                "write a module whose forward returns uda.structures.NetworkOutput."
            )
        if segmentor.out_channels == 1:
            raise ValueError(
                "The decode head has one output channel; softmax needs one a class. Set "
                "`out_channels` to `num_classes` (2 for a binary task) in the head's config."
            )
        self.segmentor = segmentor
        self.batch_norm = check_batch_norm(batch_norm)
        if self.batch_norm != "trained":
            freeze_affine(segmentor)
        if self.batch_norm == "frozen":
            freeze_statistics(segmentor)

    def train(self, mode: bool = True) -> Self:
        """Training or evaluation mode; frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.batch_norm == "frozen":
            freeze_statistics(self.segmentor)
        return self

    @classmethod
    def from_config(
        cls,
        config: Mapping[str, Any],
        *,
        num_classes: int | None = None,
        micro_batches: int = 1,
        batch_norm: BatchNorm = "trained",
    ) -> SegmentationNetwork:
        """The network of an mmseg model config; weights are not read before `init_weights`.

        Args:
            config: As under `model` in an mmseg config.
            num_classes: Number of classes of the data; None: not checked.
            micro_batches: See the class.
            batch_norm: See the class.

        Raises:
            ValueError: A head has another number of classes than the data.
        """
        if num_classes is not None:
            check_num_classes(config, num_classes)
        segmentor = MODELS.build(ConfigDict(copy.deepcopy(dict(config))))
        return cls(segmentor, micro_batches=micro_batches, batch_norm=batch_norm)

    def init_weights(self) -> None:
        """Read pretrained weights and draw the others, as the segmentor's config says; once."""
        if self.segmentor.is_init:
            return
        logger = MMLogger.get_current_instance()
        logger.addFilter(_is_no_parameter_line)
        try:
            self.segmentor.init_weights()
        finally:
            logger.removeFilter(_is_no_parameter_line)

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return int(self.segmentor.num_classes)

    def encoder(self) -> Encoder:
        """Backbone and neck, sharing their parameters; `copy.deepcopy` gives a free one."""
        neck = self.segmentor.neck if self.segmentor.with_neck else None
        scale = getattr(self.segmentor, "context_scale", 1.0)
        return Encoder(self.segmentor.backbone, neck, scale=scale)

    @staticmethod
    def build_encoder(config: Mapping[str, Any]) -> Encoder:
        """Another encoder than the network's, with its pretrained weights, for terms that keep one.

        Args:
            config: Of a backbone, such as `dict(type="FoundationEncoder", ...)`.
        """
        backbone: Any = MODELS.build(ConfigDict(copy.deepcopy(dict(config))))
        if hasattr(backbone, "init_weights"):
            backbone.init_weights()
        return Encoder(backbone)

    def forward(self, image: Tensor) -> NetworkOutput:
        """Run the network.

        Args:
            image: (N, 3, H, W) float, normalised.

        Returns:
            Logits (N, K, H, W), the encoder's features and, in training mode only, logits and
            loss weight of each auxiliary head and earlier cascade stage, or of HRDA's regions.

        Raises:
            TypeError: A head returns something else than logits.
            ValueError: HRDA cannot train on images of this size.
        """
        return self.prepared(image.shape[2:])(image)

    def prepared(self, size: Sequence[int]) -> Callable[[Tensor], NetworkOutput]:
        """The pass over images of a size, with what is drawn once for all of them.

        Args:
            size: (H, W) in pixels.
        """
        forward: Callable[[Tensor], NetworkOutput] = self._whole
        if isinstance(self.segmentor, HRDASegmentor):
            box = self.segmentor.draw_box(size) if self.training else None
            forward = partial(self._in_two_scales, box=box)
        if self.micro_batches > 1 and torch.is_grad_enabled():
            return partial(in_micro_batches, self, forward, count=self.micro_batches)
        return forward

    def _in_two_scales(self, image: Tensor, *, box: Box | None) -> NetworkOutput:
        output: NetworkOutput = self.segmentor.output(image, box)
        if box is None:
            return output
        heads = [(head, head(output.features)) for head in self._auxiliary_heads()]
        return output._replace(auxiliary=_auxiliary(heads, image.shape[2:]))

    def _whole(self, image: Tensor) -> NetworkOutput:
        features = as_maps(self.segmentor.extract_feat(image))
        size = image.shape[2:]
        stages = self._decode(features)
        logits = resize_logits(stages[-1][1], size, head=stages[-1][0])
        if not self.training:
            return NetworkOutput(logits, features)
        further = stages[:-1] + [(head, head(features)) for head in self._auxiliary_heads()]
        return NetworkOutput(logits, features, _auxiliary(further, size))

    def _decode(self, features: tuple[Tensor, ...]) -> list[tuple[nn.Module, Tensor]]:
        """Each head with its output; the last one's are the network's logits."""
        if not isinstance(self.segmentor, CascadeEncoderDecoder):
            head = self.segmentor.decode_head
            return [(head, head(features))]
        stages: list[tuple[nn.Module, Tensor]] = []
        for head in self.segmentor.decode_head:
            output = head(features, stages[-1][1]) if stages else head(features)
            stages.append((head, output))
        return stages

    def _auxiliary_heads(self) -> Iterable[nn.Module]:
        if not self.segmentor.with_auxiliary_head:
            return []
        heads = self.segmentor.auxiliary_head
        return heads if isinstance(heads, nn.ModuleList) else [heads]


def _auxiliary(
    heads: Iterable[tuple[nn.Module, Any]], size: Sequence[int]
) -> tuple[tuple[Tensor, float], ...]:
    """Logits at the size of the image, and loss weight, of heads with their outputs."""
    return tuple((resize_logits(out, size, head=head), loss_weight(head)) for head, out in heads)


def as_maps(found: Any) -> tuple[Tensor, ...]:
    """The maps of a backbone or neck as a tuple, whether it returned one, a list or a tuple."""
    return (found,) if isinstance(found, Tensor) else tuple(found)


def _is_no_parameter_line(record: logging.LogRecord) -> bool:
    """False for the line mmengine prints for each parameter after initialisation.

    It does so when no log file is open, which is when a network is used outside of its Runner.
    """
    return " - torch.Size(" not in record.getMessage()


def resize_logits(output: Any, size: Sequence[int], *, head: nn.Module) -> Tensor:
    """A head's logits at another size (bilinear, with the head's `align_corners`).

    Args:
        output: What the head returned.
        size: (H, W) in pixels.
        head: The head.

    Raises:
        TypeError: The output is not a tensor.
    """
    if not isinstance(output, Tensor):
        raise TypeError(
            f"Wanted logits (N, K, h, w) from {type(head).__name__}; it returned "
            f"{type(output).__name__}. Heads with further outputs are not supported: wrap the "
            "head so that its forward returns logits only."
        )
    if tuple(output.shape[2:]) == tuple(size):
        return output
    align = bool(getattr(head, "align_corners", False))
    return F.interpolate(output, tuple(size), mode="bilinear", align_corners=align)


def loss_weight(head: nn.Module) -> float:
    """The weight a head's config gives its loss; several losses add up."""
    losses: Any = head.loss_decode
    if not isinstance(losses, nn.ModuleList):
        losses = [losses]
    return float(sum(getattr(loss, "loss_weight", 1.0) for loss in losses))


def check_num_classes(config: Mapping[str, Any], num_classes: int) -> None:
    """Refuse a model config whose heads do not have one output for each class of the data.

    Raises:
        ValueError: A head states another number.
    """
    for kind in ("decode_head", "auxiliary_head"):
        heads = config.get(kind) or []
        for head in [heads] if isinstance(heads, Mapping) else heads:
            stated = head.get("num_classes")
            if stated is not None and stated != num_classes:
                raise ValueError(
                    f"`model.{kind}` ({head.get('type')}) has num_classes={stated}, the data "
                    f"set has {num_classes} classes. Set num_classes={num_classes} there."
                )
