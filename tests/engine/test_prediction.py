"""Predictions without logits of full size: to the bit those of mmseg."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

import uda.engine  # noqa: F401 - registers everything
from uda.engine.inference import slide
from uda.engine.prediction import predict_classes, whole_logits
from uda.evaluation.class_maps import ClassMaps

HEAD = {"type": "FCNHead", "in_channels": 64, "channels": 8, "num_classes": 5, "num_convs": 1,
        "in_index": 3, "norm_cfg": {"type": "BN"}}  # fmt: skip


def segmentor(**changes: Any) -> Any:
    """A small network."""
    torch.manual_seed(0)
    config = {
        "type": "EncoderDecoder",
        "backbone": {"type": "TimmEncoder", "name": "test_convnext"},
        "decode_head": {**HEAD, **changes},
        "test_cfg": {"mode": "whole"},
    }
    return MODELS.build(ConfigDict(config)).eval()


def samples(count: int, **meta: Any) -> list[SegDataSample]:
    """What a loader tells of each image."""
    return [SegDataSample(metainfo=copy.deepcopy(meta)) for _ in range(count)]


@pytest.mark.parametrize(
    "meta",
    [
        {"ori_shape": (64, 96)},
        {"ori_shape": (150, 201)},
        {"ori_shape": (31, 47), "flip": True, "flip_direction": "horizontal"},
        {"ori_shape": (90, 90), "flip": True, "flip_direction": "vertical"},
        {"ori_shape": (120, 160), "img_padding_size": [0, 16, 0, 24]},
        {"ori_shape": (120, 160), "padding_size": [4, 16, 8, 24]},
    ],
)
@pytest.mark.parametrize("align", [False, True])
def test_equal_to_mmseg(meta: dict[str, Any], align: bool) -> None:
    """Other sizes, mirrored and padded images, both kinds of resizing."""
    network = segmentor(align_corners=align)
    image = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
    known = {"img_shape": (64, 96), "pad_shape": (64, 96), **meta}
    with torch.no_grad():
        wanted = network.predict(image, samples(2, **known))
        found = predict_classes(network, image, samples(2, **known), ClassMaps())
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data)
        assert one.pred_sem_seg.data.dtype == other.pred_sem_seg.data.dtype
        assert one.metainfo == other.metainfo
        assert "seg_logits" not in one


class Odd(torch.nn.Module):
    """A segmentor with a way of its own."""

    def predict(self, inputs: Tensor, samples: Any) -> list[SegDataSample]:
        """Its own samples."""
        return [SegDataSample(metainfo={"own": True})]


def test_ways_of_its_own_are_kept() -> None:
    """Another class, one output channel, and no samples at all go through `predict`."""
    assert predict_classes(Odd(), torch.zeros(1, 3, 8, 8), samples(1), ClassMaps())[0].own
    network = segmentor(num_classes=2, out_channels=1, threshold=0.3)
    image = torch.randn(1, 3, 64, 64)
    known = {"img_shape": (64, 64), "ori_shape": (64, 64)}
    with torch.no_grad():
        wanted = network.predict(image, samples(1, **known))
        found = predict_classes(network, image, samples(1, **known), ClassMaps())
        assert predict_classes(segmentor(), image, None, ClassMaps())[0].pred_sem_seg is not None
    assert torch.equal(found[0].pred_sem_seg.data, wanted[0].pred_sem_seg.data)


@pytest.mark.parametrize("batch", [1, 2, 5, 99])
def test_windows_in_batches(batch: int) -> None:
    """mmseg's sliding windows, several at a time: the same logits but for last bits."""
    network, image = segmentor(), torch.randn(2, 3, 96, 80)
    metas = [{"img_shape": (96, 80), "ori_shape": (96, 80)} for _ in image]
    with torch.no_grad():
        slide(network, (64, 64), (32, 32))
        wanted = network.inference(image, copy.deepcopy(metas))
        slide(network, (64, 64), (32, 32), batch=batch)
        found = whole_logits(network, image, metas)
    torch.testing.assert_close(found, wanted)
    assert batch > 1 or torch.equal(found, wanted)


def test_batch_errors() -> None:
    """No windows at all."""
    with pytest.raises(ValueError, match="at least 1 window goes through the network at a time"):
        slide(segmentor(), (32, 32), batch=0)
