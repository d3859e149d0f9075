"""A light decoder that trains on a CPU: all scales added at the finest, one separable layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from uda.models.bilinear import at_size
from uda.models.daformer_head import DEFAULT_LOSS, check_scales


class LightHead(BaseDecodeHead):
    """Logits at the finest used stride, cheap enough to train on two CPU cores.

    Each scale passes a 1x1 convolution with norm and is resized to the finest; their sum, after
    ReLU, passes depth-wise separable 3x3 layers and a classifier. Nothing stands between a scale
    and the sum: a chain from coarse to fine with ReLU in between learnt small classes markedly
    slower. With EfficientNet-Lite0 the network has about 3 million parameters.

    Args:
        in_channels: Channels of the used maps, fine to coarse.
        num_classes: K.
        channels: Width throughout.
        in_index: Which encoder outputs are used; leave out 0 (stride 4) for logits at stride 8.
        num_convs: Number of separable layers before the classifier.
        dropout_ratio: Probability to drop a channel before the classifier.
        norm_cfg: mmcv's norm layer; None means {"type": "BN"}.
        loss_decode: mmseg's loss, used by mmseg's own training only; None: cross-entropy.
        ignore_index: Label without loss.
        align_corners: Of all resizing.

    Raises:
        ValueError: As many channels as indices are not given.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int] = (24, 40, 112, 320),
        num_classes: int,
        channels: int = 96,
        in_index: Sequence[int] = (0, 1, 2, 3),
        num_convs: int = 1,
        dropout_ratio: float = 0.0,
        norm_cfg: Mapping[str, Any] | None = None,
        loss_decode: Any = None,
        ignore_index: int = 255,
        align_corners: bool = False,
    ) -> None:
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
        # PyTorch's own initialisation of the classifier, ten times wider than mmseg's 0.01,
        # gives its gradient to the encoder from the first iteration on.
        self.init_cfg = None
        self.laterals = nn.ModuleList(
            ConvModule(width, channels, 1, norm_cfg=norm_cfg, act_cfg=None) for width in in_channels
        )
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
        fused = maps[0]
        for coarse in maps[1:]:
            fused = fused + at_size(coarse, maps[0].shape[2:], align_corners=self.align_corners)
        logits: Tensor = self.cls_seg(self.refine(F.relu(fused)))
        return logits
