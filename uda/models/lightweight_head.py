"""VFM-UDA's decoder: the last map of a Vision Transformer, enlarged four times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from uda.models.daformer_head import DEFAULT_LOSS

CLASSIFIER_STD = 0.1


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel of a map (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """The normalised map."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class LightweightHead(BaseDecodeHead):
    """Logits at a quarter of the patch size from one map.

    Transposed convolution 2x2 to D/2, LayerNorm, GELU, another to D/4, LayerNorm, 3x3 convolution,
    LayerNorm, 1x1 classifier; LayerNorms over channels, no biases in convolutions, no BatchNorm
    (Englert et al., VFM-UDA, 2024; released code: `vit_lightweight_head.py`). The classifier
    starts normal with deviation 0.1.

    Args:
        in_channels: D, a multiple of 4.
        num_classes: K.
        in_index: Which encoder output is used.
        eps: Of the LayerNorms.
        dropout_ratio: Probability to drop a channel before the classifier; none in VFM-UDA.
        loss_decode: mmseg's loss, used by mmseg's own training only; None: cross-entropy.
        ignore_index: Label without loss.
        align_corners: Of the resizing to the image.

    Raises:
        ValueError: The width is no multiple of 4.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        in_index: int = -1,
        eps: float = 1e-6,
        dropout_ratio: float = 0.0,
        loss_decode: Any = None,
        ignore_index: int = 255,
        align_corners: bool = False,
    ) -> None:
        if in_channels < 4 or in_channels % 4:
            raise ValueError(
                "LightweightHead halves its channels twice: in_channels has to be a multiple of "
                f"4; got {in_channels}."
            )
        half, quarter = in_channels // 2, in_channels // 4
        super().__init__(
            in_channels,
            quarter,
            num_classes=num_classes,
            out_channels=num_classes,
            dropout_ratio=dropout_ratio,
            in_index=in_index,
            loss_decode=loss_decode or DEFAULT_LOSS,
            ignore_index=ignore_index,
            align_corners=align_corners,
        )
        self.upscale = nn.Sequential(
            nn.ConvTranspose2d(in_channels, half, 2, stride=2, bias=False),
            ChannelNorm(half, eps=eps),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2, bias=False),
            ChannelNorm(quarter, eps=eps),
            nn.Conv2d(quarter, quarter, 3, padding=1, bias=False),
            ChannelNorm(quarter, eps=eps),
        )
        self.conv_seg = bare_classifier(quarter, num_classes)
        self.init_cfg = None  # mmseg's deviation would be 0.01, with a bias

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, 4 h, 4 w) of the used map (N, D, h, w)."""
        logits: Tensor = self.cls_seg(self.upscale(self._transform_inputs(features)))
        return logits


def bare_classifier(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1x1 classifier without bias, normal with deviation 0.1."""
    classifier = nn.Conv2d(channels, num_classes, 1, bias=False)
    nn.init.normal_(classifier.weight, std=CLASSIFIER_STD)
    return classifier
