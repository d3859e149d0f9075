"""DAFormer's decoder: context-aware fusion of all encoder scales (Hoyer et al., CVPR 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor, nn

from uda.models.resized_maps import resized_sum
from uda.models.separable_aspp import SeparableASPP, after_convolution

# Given in full because mmseg warns about its own default of the second entry.
DEFAULT_LOSS = {"type": "CrossEntropyLoss", "avg_non_ignore": True}
FUSIONS = ("separable_aspp", "conv1x1")
Resizing = Literal["first", "last"]


class EmbedScale(nn.Module):
    """A linear layer at each pixel, without norm or activation."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, channels)

    def forward(self, scale: Tensor) -> Tensor:
        """Map (N, C', H, W) of a map (N, C, H, W)."""
        embedded: Tensor = self.proj(scale.flatten(2).transpose(1, 2))
        return embedded.transpose(1, 2).reshape(scale.shape[0], -1, *scale.shape[2:])


def at_each_pixel(scale: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer at each pixel of a map.

    Args:
        scale: (N, C, H, W).
        weight: (C', C).
        bias: (C',).

    Returns:
        (N, C', H, W).
    """
    embedded = F.linear(scale.flatten(2).transpose(1, 2), weight, bias)
    return embedded.transpose(1, 2).reshape(scale.shape[0], -1, *scale.shape[2:])


class DAFormerHead(BaseDecodeHead):
    """Logits at the finest encoder stride, from all scales.

    Each scale is embedded linearly, resized to the finest one (bilinear), and concatenated fine
    to coarse (SegFormer: coarse to fine); then fused, by default with depth-wise separable
    ASPP (Hoyer et al., CVPR 2022, section 3.2; released code: `daformer_head.py`, same
    parameter names).

    Args:
        in_channels: Channels of the scales, fine to coarse.
        num_classes: K.
        channels: Width of each embedding and of the fused map.
        in_index: Which encoder outputs are used.
        dilations: Of the ASPP branches; 1 is a 1x1 convolution.
        fusion: "separable_aspp", or "conv1x1" (one 1x1 convolution; the scale attention of
            HRDA and the ablation of DAFormer's Table 7).
        dropout_ratio: Probability to drop a channel before the classifier.
        norm_cfg: mmcv's norm layer; None means {"type": "BN"}. "SyncBN" needs GPUs.
        loss_decode: mmseg's loss, used by mmseg's own training only; None: cross-entropy.
        ignore_index: Label without loss.
        align_corners: Of all resizing.
        resizing: When scales are resized. `"first"`: before the fusion, as in the released code.
            `"last"`: after the layers of the fusion that are linear, whose order can be exchanged
            (`uda.models.resized_maps`). The same numbers up to rounding, in about half
            of the time of an iteration on a CPU; not measured on CUDA.

    Raises:
        ValueError: Unknown fusion or resizing, or as many channels as indices are not given.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int = 256,
        in_index: Sequence[int] = (0, 1, 2, 3),
        dilations: Sequence[int] = (1, 6, 12, 18),
        fusion: str = "separable_aspp",
        dropout_ratio: float = 0.1,
        norm_cfg: Mapping[str, Any] | None = None,
        loss_decode: Any = None,
        ignore_index: int = 255,
        align_corners: bool = False,
        resizing: Resizing = "last",
    ) -> None:
        if fusion not in FUSIONS:
            raise ValueError(f"Unknown fusion {fusion!r}; there are {', '.join(FUSIONS)}.")
        if resizing not in ("first", "last"):
            raise ValueError(f'resizing has to be "first" or "last", not {resizing!r}.')
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
        self.resizing = resizing
        self.embed_layers = nn.ModuleList(EmbedScale(width, channels) for width in in_channels)
        stacked = len(in_channels) * channels
        self.fuse_layer = (
            ConvModule(stacked, channels, 1, norm_cfg=norm_cfg)
            if fusion == "conv1x1"
            else SeparableASPP(
                in_channels=stacked, channels=channels, dilations=dilations, norm_cfg=norm_cfg
            )
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (N, K, H, W) at the size of the finest used map."""
        scales = self._transform_inputs(features)
        fuse = self._fused if self.resizing == "last" else self._fused_at_full_size
        logits: Tensor = self.cls_seg(fuse(scales, scales[0].shape[2:]))
        return logits

    def _fused_at_full_size(self, scales: Sequence[Tensor], size: torch.Size) -> Tensor:
        embedded = [
            self._resize(embed(scale), size)
            for embed, scale in zip(self.embed_layers, scales, strict=True)
        ]
        fused: Tensor = self.fuse_layer(torch.cat(embedded, dim=1))
        return fused

    def _fused(self, scales: Sequence[Tensor], size: torch.Size) -> Tensor:
        def plain(weight: Tensor) -> Tensor:
            return self._plain(scales, weight, size)

        if isinstance(self.fuse_layer, ConvModule):
            return after_convolution(self.fuse_layer, plain(self.fuse_layer.conv.weight))
        pairs = zip(self.embed_layers, scales, strict=True)
        embedded = [embed(scale) for embed, scale in pairs]
        fused: Tensor = self.fuse_layer.of_scales(
            embedded, size, plain, align_corners=self.align_corners
        )
        return fused

    def _plain(self, scales: Sequence[Tensor], weight: Tensor, size: torch.Size) -> Tensor:
        """A 1x1 convolution of the embedded, resized, concatenated scales.

        Embedding and convolution are one linear layer of each scale.
        """
        parts = weight.flatten(1).chunk(len(scales), 1)
        embeds: list[Any] = list(self.embed_layers)
        maps = [
            at_each_pixel(scale, part @ embed.proj.weight, part @ embed.proj.bias)
            for scale, part, embed in zip(scales, parts, embeds, strict=True)
        ]
        return resized_sum(maps, size, align_corners=self.align_corners)

    def _resize(self, scale: Tensor, size: torch.Size) -> Tensor:
        if scale.shape[2:] == size:
            return scale
        return F.interpolate(scale, size, mode="bilinear", align_corners=self.align_corners)


def check_scales(in_channels: Sequence[int], in_index: Sequence[int]) -> None:
    """Refuse a list of channel numbers that does not name one number for each used map.

    Raises:
        ValueError: The two lists differ in length or are empty.
    """
    if not in_channels or len(in_channels) != len(in_index):
        raise ValueError(
            "A head needs the channels of each map it reads: `in_channels` has "
            f"{len(in_channels)} ({list(in_channels)}), `in_index` {len(in_index)} "
            f"({list(in_index)}). Give both the same length."
        )


def draw_classifier(classifier: nn.Conv2d) -> None:
    """Random start of a classifier: normal with deviation 0.01, bias 0."""
    nn.init.normal_(classifier.weight, std=0.01)
    if classifier.bias is not None:
        nn.init.zeros_(classifier.bias)
