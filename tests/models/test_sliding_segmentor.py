"""Sliding windows whose probabilities are averaged."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import Tensor

from uda.models import SegmentationNetwork, SlidingSegmentor
from uda.models.sliding_segmentor import short_side_size


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), short=st.integers(1, 2000))
def test_short_side_properties(height: int, width: int, short: int) -> None:
    """The shorter side is exact, the aspect right to half a pixel."""
    new = short_side_size((height, width), short)
    assert min(new) == short
    assert abs(max(new) - max(height, width) * short / min(height, width)) <= 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": (33, 2)}, r"stride=\(33, 2\) for crop_size=\(32, 32\)"),
        ({"stride": (0, 2)}, r"stride has to lie in 1..crop_size; got stride=\(0, 2\)"),
        ({"window_batch": 0}, "window_batch at a time, at least 1, not 0"),
    ],
)
def test_window_errors(settings: dict[str, Any], message: str) -> None:
    """Strides that leave gaps, and batches of nothing."""
    image = torch.zeros(1, 3, 40, 40)
    with pytest.raises(ValueError, match=message):
        segmentor(**settings).inference(image, metas(image))


@pytest.mark.parametrize("batch", [2, 3, 99])
def test_batches_of_windows(batch: int) -> None:
    """Six windows of two images, some at a time, give what one at a time gives."""
    image = torch.randn(2, 3, 64, 60)
    calls = []
    with torch.no_grad():
        alone = segmentor().inference(image, metas(image))
        network = segmentor(window_batch=batch)
        network.backbone.register_forward_hook(
            lambda module, inputs, output: calls.append(len(inputs[0]))
        )
        together = network.inference(image, metas(image))
    assert calls == [2 * batch] * (6 // batch) if batch < 6 else calls == [12]
    torch.testing.assert_close(together, alone)


def segmentor(**test_cfg: Any) -> SlidingSegmentor:
    """A small network with sliding inference."""
    torch.manual_seed(0)
    config = ConfigDict(
        {
            "type": "SlidingSegmentor",
            "backbone": {"type": "TimmEncoder", "name": "test_convnext"},
            "decode_head": {
                "type": "LightHead",
                "in_channels": [24, 32, 48, 64],
                "channels": 8,
                "num_classes": 3,
            },
            "test_cfg": {"mode": "slide", "crop_size": (32, 32), "stride": (16, 32), **test_cfg},
        }
    )
    built = MODELS.build(config)
    assert isinstance(built, SlidingSegmentor)
    return built.eval()


def metas(image: Tensor) -> list[dict[str, Any]]:
    """What mmseg knows of each image."""
    size = tuple(image.shape[2:])
    return [{"ori_shape": size, "img_shape": size, "pad_shape": size} for _ in image]


def test_mean_of_probabilities() -> None:
    """48x32 pixels have two windows; rows 16 to 31 lie in both, their softmax is averaged."""
    network = segmentor()
    image = torch.randn(2, 3, 48, 32)
    with torch.no_grad():
        out = network.inference(image, metas(image))
        upper, lower = (
            network.encode_decode(image[:, :, rows], metas(image[:, :, rows])).softmax(1)
            for rows in (slice(0, 32), slice(16, 48))
        )
    torch.testing.assert_close(out[:, :, :16].softmax(1), upper[:, :, :16])
    torch.testing.assert_close(out[:, :, 32:].exp(), lower[:, :, 16:])
    both = (upper[:, :, 16:] + lower[:, :, :16]) / 2
    torch.testing.assert_close(out[:, :, 16:32].exp(), both)


def test_short_side() -> None:
    """Windows are those of the resized image; what comes out has the image's size and sums to 1."""
    network = segmentor(short_side=32)
    seen: list[tuple[int, ...]] = []
    network.backbone.register_forward_hook(
        lambda module, inputs, output: seen.append(tuple(inputs[0].shape[2:]))
    )
    image = torch.randn(1, 3, 50, 100)
    with torch.no_grad():
        out = network.inference(image, metas(image))
    assert seen == [(32, 32)] * 2  # 32x64
    assert out.shape == (1, 3, 50, 100)
    torch.testing.assert_close(out.exp().sum(1), torch.ones(1, 50, 100))


def test_training_is_mmsegs() -> None:
    """Outside of sliding inference it is a plain segmentor."""
    network = SegmentationNetwork(segmentor())
    assert network(torch.randn(2, 3, 40, 48)).logits.shape == (2, 3, 40, 48)
