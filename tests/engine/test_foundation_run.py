"""Runs with foundation encoders: training, restart, deployed networks, mistyped keys inside."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmseg.apis import init_model

from uda.engine.config import check_config

from .comparing import assert_same_run
from .tiny_run import PROJECT, make_runner, model_config, write_config

KINDS = ("dinov2", "dinov3", "eva02", "convnext", "swin")
FOLDER = PROJECT / "configs" / "_base_" / "models"
FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem.startswith(KINDS))
ENCODER = {
    "type": "FoundationEncoder",
    "name": "vit_small_patch16_dinov3",
    "model_args": {"embed_dim": 32, "depth": 4, "num_heads": 2, "init_values": 0.5},
}


def network(*, adapter: bool) -> dict[str, Any]:
    """A plain encoder with a lightweight head, or an adapter with a pyramid head."""
    plain = {"type": "LightweightHead", "in_channels": 32, "num_classes": 3}
    pyramid = {"type": "PyramidHead", "in_channels": [32] * 4, "num_classes": 3}
    around = {"type": "ViTAdapter", "stem_width": 4, "heads": 2, "encoder": ENCODER}
    return {
        "type": "SlidingSegmentor",
        "backbone": around if adapter else {**ENCODER, "grad_checkpointing": True},
        "decode_head": pyramid if adapter else plain,
        "test_cfg": {"mode": "slide", "crop_size": (48, 48), "stride": (32, 32), "short_side": 64},
    }


@pytest.mark.parametrize(
    ("adapter", "hide"),
    [
        (False, "blocks"),
        (False, "tokens"),
        pytest.param(True, "blocks", marks=pytest.mark.slow),
    ],
    ids=["plain", "tokens", "adapter"],
)
def test_run_resume(adapter: bool, hide: str, tmp_path: Path) -> None:
    """Six iterations equal three and three more, to the bit; deployed networks are read back."""
    around = network(adapter=adapter)
    if hide == "tokens":
        around["backbone"]["token_masking"] = True
    model = model_config(network=around)
    model["method"]["terms"] += [{"type": "MaskedConsistency", "hide": hide, "block_size": 16}]
    config = write_config(tmp_path, model=model)
    straight, resumed = make_runner(config, tmp_path / "straight"), tmp_path / "resumed"
    before = {name: p.clone() for name, p in straight.model.named_parameters()}
    straight.train()
    after = dict(straight.model.named_parameters())
    moved = {name for name in before if not torch.equal(after[name], before[name])}
    assert any("backbone" in name and "blocks.0" in name for name in moved)
    assert any("mask_token" in name for name in moved) == (hide == "tokens")

    resumed.mkdir()
    shutil.copy(tmp_path / "straight" / "iter_3.pth", resumed)
    make_runner(config, resumed, resume=True).train()
    assert_same_run(tmp_path / "straight" / "iter_6.pth", resumed / "iter_6.pth")

    deploy = tmp_path / "straight" / "deploy"
    read = init_model(str(deploy / "config.py"), str(deploy / "student.pth"), device="cpu")
    state = straight.model.method.student.segmentor.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in read.state_dict().items())


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_model_files(file: Path) -> None:
    """Every model file passes the check of configs."""
    check_config(Config({"model": Config.fromfile(file).model}))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("adapter", r"ViTAdapter has no argument 'stemwidth'.*'stem_width'"),
        ("encoder", r"encoder: FoundationEncoder has no argument 'nam'.*'name'"),
    ],
    ids=["adapter", "encoder"],
)
def test_key_errors(place: str, message: str) -> None:
    """A mistyped key is found in the adapter and in the encoder within."""
    found = network(adapter=True)
    if place == "adapter":
        found["backbone"] = {**found["backbone"], "stemwidth": 4}
    else:
        found["backbone"] = {**found["backbone"], "encoder": {**ENCODER, "nam": "x"}}
    with pytest.raises(ValueError, match=message):
        check_config(Config({"model": {"type": "DomainAdaptation", "network": found}}))
