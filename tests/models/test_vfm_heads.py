"""The heads of VFM-UDA and VFM-UDA++: sizes, starts, gradients, errors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uda.models import LightweightHead, PyramidHead, SegmentationNetwork
from uda.models.lightweight_head import ChannelNorm


def test_lightweight_shapes() -> None:
    """Four times the size of the last map; no BatchNorm and no bias in any convolution."""
    head = LightweightHead(in_channels=32, num_classes=5)
    assert head([torch.randn(2, 8, 3, 4), torch.randn(2, 32, 3, 4)]).shape == (2, 5, 12, 16)
    convolutions = [m for m in head.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert [m.out_channels for m in convolutions] == [5, 16, 8, 8]
    assert all(m.bias is None for m in convolutions)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in head.modules())


def test_pyramid_shapes() -> None:
    """The size of the finest map, for maps of other widths and sizes that are no halves too."""
    head = PyramidHead(in_channels=[16] * 4, num_classes=5)
    maps = [torch.randn(2, 16, 24 // 2**level, 16 // 2**level) for level in range(4)]
    assert head(maps).shape == (2, 5, 24, 16)
    stages = PyramidHead(in_channels=[8, 16, 24, 32], num_classes=3)
    sizes = [(25, 33), (13, 17), (7, 9), (4, 5)]
    maps = [torch.randn(2, w, *s) for w, s in zip((8, 16, 24, 32), sizes, strict=True)]
    assert stages(maps).shape == (2, 3, 25, 33)


def test_channel_norm_parity() -> None:
    """Each pixel has mean 0 and variance 1 over its channels."""
    normed = ChannelNorm(6, eps=1e-6)(3 + 2 * torch.randn(2, 6, 4, 5))
    torch.testing.assert_close(normed.mean(1), torch.zeros(2, 4, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(normed.var(1, unbiased=False), torch.ones(2, 4, 5))


@pytest.mark.parametrize("head", ["LightweightHead", "PyramidHead"])
def test_start(head: str) -> None:
    """The classifier keeps its deviation of 0.1 through mmseg's own initialisation."""
    torch.manual_seed(0)
    channels = 384 if head == "LightweightHead" else [96, 192, 384, 768]
    backbone = {"type": "TimmEncoder", "name": "convnext_tiny", "model_args": {"depths": [1] * 4}}
    network = SegmentationNetwork.from_config(
        {
            "type": "EncoderDecoder",
            "backbone": backbone,
            "decode_head": {"type": head, "in_channels": channels, "num_classes": 19},
            "test_cfg": {"mode": "whole"},
        }
    )
    network.init_weights()
    classifier = network.segmentor.decode_head.conv_seg
    assert classifier.bias is None
    assert 0.09 < classifier.weight.std() < 0.11


@pytest.mark.parametrize("head", ["lightweight", "pyramid"])
def test_gradients(head: str) -> None:
    """Every parameter and every used map gets a gradient."""
    maps = [torch.randn(2, 16, 16 // 2**i, 16 // 2**i, requires_grad=True) for i in range(4)]
    decoder = (
        LightweightHead(in_channels=16, num_classes=3)
        if head == "lightweight"
        else PyramidHead(in_channels=[16] * 4, num_classes=3)
    )
    logits = decoder(maps)
    (logits * torch.randn_like(logits)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for n, p in decoder.named_parameters())
    used = maps[-1:] if head == "lightweight" else maps
    assert all(one.grad is not None and one.grad.any() for one in used)


def test_momentum() -> None:
    """Running statistics move by a hundredth."""
    head = PyramidHead(in_channels=[8] * 4, num_classes=2)
    assert {m.momentum for m in head.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}


def test_width_errors() -> None:
    """Widths that cannot be halved, and other numbers of maps."""
    with pytest.raises(ValueError, match="multiple of 4; got 30"):
        LightweightHead(in_channels=30, num_classes=2)
    with pytest.raises(ValueError, match=r"needs four maps.*got in_channels=\[8, 8\]"):
        PyramidHead(in_channels=[8, 8], num_classes=2)
    with pytest.raises(ValueError, match=r"multiple of 8 channels; got .*12"):
        PyramidHead(in_channels=[12] * 4, num_classes=2)
