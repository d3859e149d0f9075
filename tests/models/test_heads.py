"""Decoders: shapes, values, start, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

from uda.models import DAFormerHead, DeepLabV2Head, LightHead

WIDTHS = (8, 16, 20, 32)


def features(count: int = 2) -> list[torch.Tensor]:
    """Random maps of a 64x96 image."""
    torch.manual_seed(0)
    return [
        torch.randn(count, c, 64 // s, 96 // s) for c, s in zip(WIDTHS, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("fusion", ["separable_aspp", "conv1x1"])
def test_daformer_head_shapes(fusion: str) -> None:
    """Logits stand at stride 4."""
    head = DAFormerHead(in_channels=WIDTHS, num_classes=5, channels=12, fusion=fusion)
    assert head(features()).shape == (2, 5, 16, 24)


def test_daformer_head_names() -> None:
    """The scale attention of HRDA's released weights names its 1x1 fusion so."""
    head = DAFormerHead(in_channels=WIDTHS, num_classes=5, channels=12, fusion="conv1x1")
    fusion = [name for name in head.state_dict() if name.startswith("fuse_layer")]
    assert fusion[:2] == ["fuse_layer.conv.weight", "fuse_layer.bn.weight"]


@pytest.mark.parametrize("kind", [DAFormerHead])
def test_classifier_start_values(kind: Any) -> None:
    """Deviation 0.01 and bias 0, from the constructor alone."""
    torch.manual_seed(0)
    head = kind(in_channels=WIDTHS, num_classes=200, channels=64)
    assert head.conv_seg.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert head.conv_seg.bias.abs().max() == 0
    assert head.dropout.p == 0.1


@pytest.mark.parametrize(("index", "stride"), [((0, 1, 2, 3), 4), ((1, 2, 3), 8), ((3,), 32)])
def test_light_head_shapes(index: tuple[int, ...], stride: int) -> None:
    """Logits stand at the finest used stride; all parameters get a gradient; batch 1 trains."""
    head = LightHead(
        in_channels=[WIDTHS[i] for i in index],
        in_index=index,
        num_classes=3,
        channels=8,
    )
    logits = head(features(count=1))
    assert logits.shape == (1, 3, 64 // stride, 96 // stride)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in head.parameters())


def test_deeplab_v2_head_values() -> None:
    """The logits are the sum of the branches, each an ordinary dilated convolution."""
    torch.manual_seed(0)
    head = DeepLabV2Head(in_channels=4, num_classes=3, dilations=(6, 12))
    scale = torch.randn(1, 4, 9, 11)
    wanted = sum(
        F.conv2d(scale, branch.weight, branch.bias, padding=dilation, dilation=dilation)
        for branch, dilation in zip(head.branches, (6, 12), strict=True)
    )
    torch.testing.assert_close(head([scale]), wanted)
    assert not hasattr(head, "conv_seg")
    assert len(list(head.parameters())) == 4


def test_heads_serve_binary_tasks_quietly(recwarn: pytest.WarningsRecorder) -> None:
    """Two classes get two outputs; mmseg's advice to use one is for another loss."""
    config = {"type": "LightHead", "in_channels": WIDTHS, "num_classes": 2}
    assert MODELS.build(config).out_channels == 2
    assert not recwarn.list


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            DAFormerHead,
            {"fusion": "isa"},
            "Unknown fusion 'isa'; there are separable_aspp, conv1x1",
        ),
        (DAFormerHead, {"in_index": (0, 1)}, r"`in_channels` has 4 .*, `in_index` 2 \(\[0, 1\]\)"),
        (LightHead, {"in_index": (0, 1)}, r"`in_channels` has 4 .*, `in_index` 2"),
    ],
)
def test_head_errors(kind: Any, settings: dict[str, Any], message: str) -> None:
    """Wrong settings are refused in words."""
    with pytest.raises(ValueError, match=message):
        kind(**{"in_channels": WIDTHS, "num_classes": 3, **settings})


def test_deeplab_v2_head_errors() -> None:
    """At least one branch."""
    with pytest.raises(ValueError, match="`dilations` needs at least one"):
        DeepLabV2Head(num_classes=3, dilations=())
