"""A light decoder that trains on a CPU: a top-down pyramid of depth-wise separable layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from uda.models.daformer_head import DEFAULT_LOSS, check_scales, draw_classifier

FUSIONS = ("sum", "concat")


class ContextBlock(nn.Module):
    """Wide and whole-image context for the coarsest map, added to it.

    A depth-wise dilated 3x3 convolution sees the neighbourhood; the mean over the map, through a
    1x1 convolution, sees all. The latter has no norm, since batch statistics of one value per
    image break with a batch of one.
    """

    def __init__(self, *, channels: int, dilation: int, norm_cfg: Mapping[str, Any]) -> None:
        super().__init__()
        self.around = DepthwiseSeparableConvModule(
            channels, channels, 3, padding=dilation, dilation=dilation, norm_cfg=dict(norm_cfg)
        )
        self.overall = nn.Conv2d(channels, channels, 1)

    def forward(self, coarse: Tensor) -> Tensor:
        """Map (N, C, H, W) of the same size."""
        mean = self.overall(coarse.mean(dim=(2, 3), keepdim=True))
        result: Tensor = coarse + self.around(coarse) + mean
        return result


class LightHead(BaseDecodeHead):
    """Logits at the finest used stride, cheap enough to train on two CPU cores.

    Each scale passes a 1x1 convolution with norm; the coarsest gets context. "sum" then adds
    scales from coarse to fine (each resized to the next), "concat" resizes all to the finest
    and joins them by a 1x1 convolution. Depth-wise separable 3x3 layers and a classifier end it.
    With EfficientNet-Lite0 the network has about 3.1 million parameters.

    Args:
        in_channels: Channels of the used maps, fine to coarse.
        num_classes: K.
        channels: Width throughout.
        in_index: Which encoder outputs are used; leave out 0 (stride 4) for logits at stride 8.
        fusion: "sum" or "concat".
        num_convs: Number of separable layers before the classifier.
        context_dilation: Dilation in the coarsest map, in its pixels.
        dropout_ratio: Probability to drop a channel before the classifier.
        norm_cfg: mmcv's norm layer; None means {"type": "BN"}.
        loss_decode: mmseg's loss, used by mmseg's own training only; None: cross-entropy.
        ignore_index: Label without loss.
        align_corners: Of all resizing.

    Raises:
        ValueError: Unknown fusion, or as many channels as indices are not given.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int] = (24, 40, 112, 320),
        num_classes: int,
        channels: int = 96,
        in_index: Sequence[int] = (0, 1, 2, 3),
        fusion: str = "sum",
        num_convs: int = 2,
        context_dilation: int = 2,
        dropout_ratio: float = 0.1,
        norm_cfg: Mapping[str, Any] | None = None,
        loss_decode: Any = None,
        ignore_index: int = 255,
        align_corners: bool = False,
    ) -> None:
        if fusion not in FUSIONS:
            raise ValueError(f"Unknown fusion {fusion!r}; there are {', '.join(FUSIONS)}.")
        check_scales(in_channels, in_index)
        norm_cfg = dict(norm_cfg or {"type": "BN"})
        super().__init__(
            list(in_channels),
            channels,
            num_classes=num_classes,
            out_channels=num_classes,
            dropout_ratio=dropout_ratio,
            norm_cfg=norm_cfg,
            in_index=list(in_index),
            input_transform="multiple_select",
            loss_decode=loss_decode or DEFAULT_LOSS,
            ignore_index=ignore_index,
            align_corners=align_corners,
        )
        draw_classifier(self.conv_seg)
        self.fusion = fusion
        self.laterals = nn.ModuleList(
            ConvModule(width, channels, 1, norm_cfg=norm_cfg, act_cfg=None) for width in in_channels
        )
        self.context = ContextBlock(channels=channels, dilation=context_dilation, norm_cfg=norm_cfg)
        if fusion == "concat":
            stacked = len(in_channels) * channels
            self.join = ConvModule(stacked, channels, 1, norm_cfg=norm_cfg)
        self.refine = nn.Sequential(
            *(
                DepthwiseSeparableConvModule(channels, channels, 3, padding=1, norm_cfg=norm_cfg)
                for _ in range(num_convs)
            )
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, H, W) at the size of the finest used map."""
        scales = self._transform_inputs(features)
        maps = [lateral(scale) for lateral, scale in zip(self.laterals, scales, strict=True)]
        maps[-1] = self.context(maps[-1])
        fused = self._add_up(maps) if self.fusion == "sum" else self._join(maps)
        logits: Tensor = self.cls_seg(self.refine(fused))
        return logits

    def _add_up(self, maps: list[Tensor]) -> Tensor:
        fused = maps[-1]
        for finer in reversed(maps[:-1]):
            fused = F.relu(finer + self._resize(fused, finer))
        return fused

    def _join(self, maps: list[Tensor]) -> Tensor:
        resized = [F.relu(self._resize(one, maps[0])) for one in maps]
        joined: Tensor = self.join(torch.cat(resized, dim=1))
        return joined

    def _resize(self, coarse: Tensor, fine: Tensor) -> Tensor:
        if coarse.shape[2:] == fine.shape[2:]:
            return coarse
        return F.interpolate(
            coarse, fine.shape[2:], mode="bilinear", align_corners=self.align_corners
        )
