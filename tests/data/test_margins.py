"""Margins without pseudo-labels: where they lie, and that they move with the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmseg.datasets.transforms import PackSegInputs, RandomCrop
from mmseg.registry import TRANSFORMS

import uda.data.registration  # noqa: F401
from uda.data.margins import PackTarget, PseudoLabelMargins


def marked(height: int = 20, width: int = 40, **margins: Any) -> dict[str, Any]:
    image = np.zeros((height, width, 3), np.uint8)
    return PseudoLabelMargins(**margins)({"img": image, "img_shape": (height, width)})


def test_margins_values() -> None:
    valid = marked(top=1, bottom=5, left=2, right=3)["valid_map"]
    assert valid.sum() == 14 * 35
    assert valid[1, 2] == valid[14, 36] == 1
    assert not valid[0].any() and not valid[15:].any()
    assert not valid[:, :2].any() and not valid[:, 37:].any()


def test_margins_scale_values() -> None:
    """30 of 1024 rows are 15 of 512; 240 are 120; a fraction of a pixel counts as one."""
    size = (1024, 2048)
    valid = marked(512, 1024, top=30, bottom=240, left=30, right=30, size=size)["valid_map"]
    assert (~valid.any(1)).sum() == 15 + 120 and (~valid.any(0)).sum() == 30
    assert (~marked(10, 10, top=1, size=(1024, 2048))["valid_map"].any(1)).sum() == 1


def test_margins_move_with_the_image_properties() -> None:
    """Resized, cropped and flipped like an image whose first channel shows the same map."""
    results = marked(20, 40, top=6, left=9)
    results["img"][..., 0] = results["valid_map"] * 255
    steps = [
        {"type": "Resize", "scale": (80, 40), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": (24, 32)},
        {"type": "RandomFlip", "prob": 1.0},
    ]
    np.random.seed(1)
    for step in steps:
        results = TRANSFORMS.build(step)(results)
    packed = PackTarget()(results)
    valid = packed["data_samples"].valid_map.data
    assert valid.dtype == torch.bool and valid.shape == (1, 24, 32)
    assert 0 < valid.sum() < valid.numel()
    # Bilinear and nearest differ in the pixels along the border alone.
    shown = packed["inputs"][0] > 127
    assert (shown != valid[0]).float().mean() < 0.1


def test_pack_target_values() -> None:
    """Beside the map everything is packed as mmseg does it."""
    results = {**marked(), "img_path": "a.png"}
    packed, plain = PackTarget()(dict(results)), PackSegInputs()(dict(results))
    assert torch.equal(packed["inputs"], plain["inputs"])
    assert packed["data_samples"].metainfo == plain["data_samples"].metainfo
    assert PackTarget(meta_keys=())(dict(results))["data_samples"].metainfo == {}


def test_filled_borders_are_not_valid_values() -> None:
    """Steps that rotate or fill write 255 into maps of labels."""
    results = marked()
    results["valid_map"][:5] = 255
    assert PackTarget()(results)["data_samples"].valid_map.data.sum() == 15 * 40


def test_a_step_on_the_image_alone_errors() -> None:
    """mmcv's Pad knows only the map that is called gt_seg_map."""
    results = TRANSFORMS.build({"type": "Pad", "size": (48, 32)})(marked())
    with pytest.raises(ValueError, match=r"image is \(32, 48\).*map \(20, 40\).*mmcv's Pad"):
        PackTarget()(results)


def test_cropping_keeps_the_map_of_the_crop() -> None:
    results = RandomCrop(crop_size=(8, 8))(marked(top=19))
    assert results["valid_map"].shape == (8, 8)


def test_margins_errors() -> None:
    with pytest.raises(ValueError, match="top=-1; margins are numbers of pixels of at least 0"):
        PseudoLabelMargins(top=-1)
    with pytest.raises(ValueError, match=r"leave nothing of an image of 20x40 pixels"):
        marked(bottom=20)
    with pytest.raises(ValueError, match=r"leave nothing.*\(a\.png\)"):
        PseudoLabelMargins(left=30, right=30)({"img": np.zeros((9, 9, 3)), "img_path": "a.png"})
    with pytest.raises(ValueError, match="put dict.type='PseudoLabelMargins'"):
        PackTarget()({"img": np.zeros((4, 4, 3), np.uint8)})


def test_margins_repr() -> None:
    shown = "PseudoLabelMargins(top=1, bottom=0, left=0, right=0, size=(4, 8))"
    assert repr(PseudoLabelMargins(top=1, size=(4, 8))) == shown
