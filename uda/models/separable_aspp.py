"""Depth-wise separable ASPP, the fusion of DAFormer's decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from torch import Tensor, nn

from uda.models.resized_maps import depthwise_of_resized, pointwise

# What a 1x1 convolution with this weight makes of all scales.
Plain = Callable[[Tensor], Tensor]


class SeparableASPP(nn.Module):
    """Parallel dilated depth-wise separable convolutions, then a 3x3 bottleneck; no pooling.

    Dilation 1 stands for a plain 1x1 convolution.

    Args:
        in_channels: Channels of the map, all scales together.
        channels: Channels of each branch and of the result.
        dilations: Of the branches, in the order of concatenation.
        norm_cfg: mmcv's norm layer.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        channels: int,
        dilations: Sequence[int],
        norm_cfg: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.dilations = tuple(dilations)
        self.aspp_modules = nn.ModuleList(
            ConvModule(in_channels, channels, 1, norm_cfg=dict(norm_cfg))
            if dilation == 1
            else DepthwiseSeparableConvModule(
                in_channels,
                channels,
                3,
                padding=dilation,
                dilation=dilation,
                norm_cfg=dict(norm_cfg),
            )
            for dilation in dilations
        )
        self.bottleneck = ConvModule(
            len(dilations) * channels, channels, 3, padding=1, norm_cfg=dict(norm_cfg)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, channels, H, W) of a map (N, in_channels, H, W)."""
        branches = [branch(features) for branch in self.aspp_modules]
        fused: Tensor = self.bottleneck(torch.cat(branches, dim=1))
        return fused

    def of_scales(
        self, scales: Sequence[Tensor], size: Sequence[int], plain: Plain, *, align_corners: bool
    ) -> Tensor:
        """What `forward` makes of the scales resized to `size` and concatenated, up to rounding.

        The large concatenated map is never made: see `uda.models.resized_maps`.

        Args:
            scales: Maps (N, C_i, h_i, w_i), whose channels add up to `in_channels`.
            size: Height and width of the result.
            plain: What a 1x1 convolution of the concatenated scales gives, by its weight.
            align_corners: Of the resizing.
        """
        layers: list[Any] = list(self.aspp_modules)
        branches = [
            after_convolution(branch, plain(branch.conv.weight))
            if dilation == 1
            else separable_of_scales(branch, scales, size, align_corners=align_corners)
            for dilation, branch in zip(self.dilations, layers, strict=True)
        ]
        fused: Tensor = self.bottleneck(torch.cat(branches, dim=1))
        return fused


def separable_of_scales(
    branch: DepthwiseSeparableConvModule,
    scales: Sequence[Tensor],
    size: Sequence[int],
    *,
    align_corners: bool,
) -> Tensor:
    """What a depth-wise separable convolution makes of resized and concatenated scales.

    Args:
        branch: The layers.
        scales: See `SeparableASPP.of_scales`.
        size: Height and width of the result.
        align_corners: Of the resizing.
    """
    layer, after = branch.depthwise_conv, branch.pointwise_conv
    parts = layer.conv.weight.split([one.shape[1] for one in scales])
    dilation = layer.conv.dilation[0]
    maps = [
        depthwise_of_resized(one, weight, size, dilation=dilation, align_corners=align_corners)
        for one, weight in zip(scales, parts, strict=True)
    ]
    wide = torch.cat(maps, 1)
    del maps  # as large as `wide`, and not needed again
    return after_convolution(after, pointwise(after_convolution(layer, wide), after.conv.weight))


def after_convolution(layer: ConvModule, convolved: Tensor) -> Tensor:
    """Norm and activation of a layer whose convolution was computed elsewhere."""
    result: Tensor = layer.activate(layer.norm(convolved))
    return result
