"""Albumentations in the pipeline: geometry of image and label, sizes, reproducibility, errors."""

from __future__ import annotations

import numpy as np
import pytest

from uda.data.albumentations_transform import Albumentations
from uda.data.seeding import seeded

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_geometry_moves_image_and_label_alike() -> None:
    """The label is the blue channel, so it must stay so under flips and a quarter turn."""
    move = Albumentations(
        [
            {"type": "OneOf", "p": 1.0, "transforms": [{"type": "HorizontalFlip", "p": 1.0}]},
            {"type": "RandomRotate90", "p": 1.0},
            {"type": "RandomCrop", "height": 10, "width": 12, "p": 1.0},
        ]
    )
    for draw in range(8):
        with seeded(0, draw):
            results = {"img": IMAGE.copy(), "gt_seg_map": IMAGE[..., 0].copy()}
            out = move({**results, "img_shape": (24, 32)})
        assert np.array_equal(out["gt_seg_map"], out["img"][..., 0])
        assert out["img_shape"] == out["pad_shape"] == (10, 12)


def test_channels_are_rgb_inside() -> None:
    """A red shift of +50 in RGB raises the last channel of a BGR image."""
    shift = {"r_shift_limit": (50, 50), "g_shift_limit": (0, 0), "b_shift_limit": (0, 0)}
    transform = Albumentations([{"type": "RGBShift", **shift, "p": 1.0}])
    out = transform({"img": np.full((4, 4, 3), 100, np.uint8)})["img"]
    assert out[0, 0].tolist() == [100, 100, 150]


def test_padding_is_ignored_in_the_label() -> None:
    pad = Albumentations([{"type": "PadIfNeeded", "min_height": 40, "min_width": 32, "p": 1.0}])
    out = pad({"img": IMAGE, "gt_seg_map": np.ones((24, 32), np.uint8)})
    assert out["gt_seg_map"].shape == (40, 32)
    assert (out["gt_seg_map"] == 255).sum() == 16 * 32
    affine = Albumentations([{"type": "Affine", "rotate": (30, 30), "p": 1.0}])
    turned = affine({"img": IMAGE, "gt_seg_map": np.ones((24, 32), np.uint8)})["gt_seg_map"]
    assert set(np.unique(turned)) == {1, 255}


def test_dropout_leaves_the_label_alone() -> None:
    drop = Albumentations([{"type": "CoarseDropout", "p": 1.0}])
    out = drop({"img": IMAGE, "gt_seg_map": np.ones((24, 32), np.uint8)})
    assert (out["gt_seg_map"] == 1).all()
    assert not np.array_equal(out["img"], IMAGE)


def test_works_without_label_and_repeats() -> None:
    noise = Albumentations([{"type": "GaussNoise", "p": 1.0}, {"type": "RandomGamma", "p": 0.5}])
    outs = []
    for draw in (0, 1, 0):
        with seeded(3, draw):
            outs.append(noise({"img": IMAGE.copy()})["img"])
    assert np.array_equal(outs[0], outs[2])
    assert not np.array_equal(outs[0], outs[1])


def test_transforms_fire_independently() -> None:
    """Two transforms with p = 0.5 must not be tied: all four outcomes come up in 40 calls.

    The chance that one of the four is absent is below 4 * 0.75^40 = 4e-5.
    """
    both = Albumentations(
        [
            {"type": "HorizontalFlip", "p": 0.5},
            {"type": "InvertImg", "p": 0.5},
        ]
    )
    plain = np.tile(np.array([[[0], [100]]], np.uint8), (2, 1, 3))
    outcomes = set()
    for draw in range(40):
        with seeded(0, draw):
            outcomes.add(tuple(both({"img": plain.copy()})["img"][0, :, 0]))
    assert outcomes == {(0, 100), (100, 0), (255, 155), (155, 255)}


def test_unknown_names_propose_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"'RandomGama' in albumentations .*mean 'RandomGamma'\?"):
        Albumentations([{"type": "RandomGama"}])
    with pytest.raises(
        ValueError, match=r"no argument 'gama_limit'\. Did you mean 'gamma_limit'\?"
    ):
        Albumentations([{"type": "RandomGamma", "gama_limit": (60, 160)}])
    with pytest.raises(ValueError, match="no transform is called 'HorizontalFlp'"):
        Albumentations([{"type": "OneOf", "transforms": [{"type": "HorizontalFlp"}]}])
    assert "RandomGamma" in repr(Albumentations([{"type": "RandomGamma"}]))
