"""DeepLabV2's decoder, the CNN baseline of most adaptation papers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from uda.models.daformer_head import DEFAULT_LOSS, draw_classifier


class DeepLabV2Head(BaseDecodeHead):
    """Logits as the sum of parallel dilated 3x3 classifiers on one encoder map.

    logits = sum over d of conv3x3(dilation d)(features), straight to the classes: no norm, no
    hidden layer, no pooling, no dropout (Chen et al., "DeepLab", TPAMI 2018, ASPP-L). Goes with
    a ResNet-101 of output stride 8. DAFormer's own DeepLabV2 rows use dilations (6, 12) only.

    Args:
        num_classes: K.
        in_channels: Channels of the map.
        in_index: Which encoder output; -1 is the last.
        dilations: One branch each.
        dropout_ratio: Probability to drop an input channel; published networks have 0.
        loss_decode: mmseg's loss, used by mmseg's own training only; None: cross-entropy.
        ignore_index: Label without loss.
        align_corners: Of the resizing to the image that follows.

    Raises:
        ValueError: No dilation is given.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int = 2048,
        in_index: int = -1,
        dilations: Sequence[int] = (6, 12, 18, 24),
        dropout_ratio: float = 0.0,
        loss_decode: Any = None,
        ignore_index: int = 255,
        align_corners: bool = False,
    ) -> None:
        if not dilations:
            raise ValueError("`dilations` needs at least one number; got none.")
        super().__init__(
            in_channels,
            1,
            num_classes=num_classes,
            out_channels=num_classes,
            dropout_ratio=dropout_ratio,
            in_index=in_index,
            loss_decode=loss_decode or DEFAULT_LOSS,
            ignore_index=ignore_index,
            align_corners=align_corners,
            init_cfg=None,
        )
        # The base class's classifier follows a hidden layer; here the branches classify.
        del self.conv_seg
        branches = [
            nn.Conv2d(in_channels, num_classes, 3, padding=dilation, dilation=dilation)
            for dilation in dilations
        ]
        for branch in branches:
            draw_classifier(branch)
        self.branches = nn.ModuleList(branches)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, H, W) at the size of the used map."""
        scale = self._transform_inputs(features)
        if self.dropout is not None:
            scale = self.dropout(scale)
        return torch.stack([branch(scale) for branch in self.branches]).sum(dim=0)
