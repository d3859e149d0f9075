"""VFM-UDA++'s decoder: four maps joined from coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from uda.models.bilinear import at_size
from uda.models.daformer_head import DEFAULT_LOSS
from uda.models.lightweight_head import bare_classifier


class PyramidHead(BaseDecodeHead):
    """Logits at the finest stride from four maps, coarse to fine.

        t <- f_4;   t <- ReLU(BN(conv3x3(up2(t) + conv1x1(f_i))))   for f_3, f_2, f_1

    up2 a transposed convolution 2x2 that halves the channels (D, D/2, D/4, D/8), then a 3x3
    convolution and a 1x1 classifier without bias (VFM-UDA++, `BasicPyramidHead`; its parameter
    names). All convolutions start as PyTorch's (Kaiming-uniform), the classifier normal with
    deviation 0.1.

    Args:
        in_channels: Channels of the four maps, fine to coarse; the last a multiple of 8.
        num_classes: K.
        in_index: Which encoder outputs are used, fine to coarse.
        momentum: Of BatchNorm's running statistics; VFM-UDA++ has 0.01.
        dropout_ratio: Probability to drop a channel before the classifier; none in VFM-UDA++.
        loss_decode: mmseg's loss, used by mmseg's own training only; None: cross-entropy.
        ignore_index: Label without loss.
        align_corners: Of all resizing.

    Raises:
        ValueError: Not four maps, or the coarsest width is no multiple of 8.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3),
        momentum: float = 0.01,
        dropout_ratio: float = 0.0,
        loss_decode: Any = None,
        ignore_index: int = 255,
        align_corners: bool = False,
    ) -> None:
        if len(in_channels) != 4 or len(in_index) != 4 or in_channels[-1] % 8:
            raise ValueError(
                "PyramidHead needs four maps, the coarsest with a multiple of 8 channels; got "
                f"in_channels={list(in_channels)} for in_index={list(in_index)}."
            )
        widths = [in_channels[-1] >> level for level in range(4)]
        super().__init__(
            list(in_channels),
            widths[-1],
            num_classes=num_classes,
            out_channels=num_classes,
            dropout_ratio=dropout_ratio,
            in_index=list(in_index),
            input_transform="multiple_select",
            loss_decode=loss_decode or DEFAULT_LOSS,
            ignore_index=ignore_index,
            align_corners=align_corners,
        )
        skips = list(in_channels[:3])[::-1]
        for level, skip in enumerate(skips, start=1):
            coarse, width = widths[level - 1], widths[level]
            self.add_module(f"up_conv{level}", nn.ConvTranspose2d(coarse, width, 2, stride=2))
            self.add_module(f"reduce_conv{level}", nn.Conv2d(skip, width, 1))
            self.add_module(f"smooth_conv{level}", nn.Conv2d(width, width, 3, padding=1))
            self.add_module(f"norm{level}", nn.BatchNorm2d(width, momentum=momentum))
        self.smooth_conv4 = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.conv_seg = bare_classifier(widths[-1], num_classes)
        self.init_cfg = None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, h, w) at the size of the finest map."""
        logits: Tensor = self.cls_seg(self.fuse(self._transform_inputs(features)))
        return logits

    def fuse(self, maps: Sequence[Tensor]) -> Tensor:
        """The map (N, D/8, h, w) before the classifier, of four maps, fine to coarse."""
        fused = maps[-1]
        for level, skip in enumerate(maps[2::-1], start=1):
            raised = self._layer("up_conv", level)(fused)
            # changes maps alone whose sizes are not halves, one by one
            raised = at_size(raised, skip.shape[2:], align_corners=self.align_corners)
            summed = raised + self._layer("reduce_conv", level)(skip)
            fused = F.relu(self._layer("norm", level)(self._layer("smooth_conv", level)(summed)))
        out: Tensor = self.smooth_conv4(fused)
        return out

    def _layer(self, kind: str, level: int) -> nn.Module:
        return self.get_submodule(f"{kind}{level}")
