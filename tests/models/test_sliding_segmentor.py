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
from uda.models.sliding_segmentor import short_side_size, window_boxes


@given(
    side=st.integers(1, 50),
    other=st.integers(1, 50),
    crop=st.integers(1, 30),
    step=st.integers(10, 30),
)
def test_window_properties(side: int, other: int, crop: int, step: int) -> None:
    """Every pixel is covered; windows have the crop's size, or the image's where it is smaller."""
    step = min(step, crop)
    boxes = window_boxes((side, other), crop=(crop, crop), stride=(step, step))
    covered = torch.zeros(side, other)
    for top, bottom, left, right in boxes:
        assert (bottom - top, right - left) == (min(crop, side), min(crop, other))
        covered[top:bottom, left:right] += 1
    assert covered.min() >= 1
    assert len(set(boxes)) == len(boxes)


@given(height=st.integers(1, 3000), width=st.integers(1, 3000), short=st.integers(1, 2000))
def test_short_side_properties(height: int, width: int, short: int) -> None:
    """The shorter side is exact, the aspect right to half a pixel."""
    new = short_side_size((height, width), short)
    assert min(new) == short
    assert abs(max(new) - max(height, width) * short / min(height, width)) <= 0.5


def test_window_errors() -> None:
    """A stride that leaves gaps."""
    with pytest.raises(ValueError, match=r"stride=\(3, 2\) for crop_size=\(2, 2\)"):
        window_boxes((9, 9), crop=(2, 2), stride=(3, 2))


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
