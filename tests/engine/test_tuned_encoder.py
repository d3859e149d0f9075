"""A tuned foundation encoder in a whole run: what is trained, saved, resumed and deployed."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from uda.engine.evaluate import load_network
from uda.engine.train import load_config
from uda.models import SegmentationNetwork
from uda.models.state_dicts import read_state_dict

from .comparing import assert_same_run
from .test_resume import run
from .tiny_run import make_runner, model_config, write_config

VIT = {
    "type": "FoundationEncoder",
    "name": "vit_tiny_patch16_224",
    "out_indices": [0, 1],
    "model_args": {"depth": 2, "embed_dim": 16, "num_heads": 2, "init_values": 1.0},
}


def config(folder: Path, tuning: dict[str, Any]) -> Config:
    """The recipe of VFM-UDA++ around a ViT of a few thousand weights, six iterations."""
    loaded = load_config(write_config(folder))
    loaded.model.network = {
        "type": "EncoderDecoder",
        "backbone": {"type": "TunedEncoder", "encoder": VIT, "tuning": tuning},
        "decode_head": {"type": "LightweightHead", "in_channels": 16, "num_classes": 3},
        "test_cfg": {"mode": "whole"},
    }
    distance = {
        "type": "FeatureDistance",
        "encoder": VIT,
        "classes": None,
        "weight": 0.1,
        "measure": "smooth_cosine",
        "domains": ("source", "target"),
        "size": (32, 48),
        "projection": (16, 16),
    }
    loaded.model.method = {
        **model_config()["method"],
        "teacher": {"type": "EMATeacher", "flip_average": True, "share_frozen": True},
        "mixer": {"type": "ClassMix", "candidates": "batch", "unlabelled_weight": 0.0},
        "terms": [distance],
    }
    loaded.optim_wrapper.paramwise_cfg = {"batch_size": 2}
    loaded.param_scheduler = [{"type": "WarmUpDecayLR", "by_epoch": False, "warmup": 3}]
    loaded.custom_hooks = [
        {"type": "RandomState"},
        {"type": "Preemption"},
        {"type": "DeployCheckpoint"},
    ]
    return loaded


TUNINGS = {
    "lora": {"type": "LoRA", "rank": 2},
    "soma": {"type": "SoMA", "rank": 2, "first_block": 1},
    "rein": {"type": "Rein", "tokens": 4, "rank": 2},
}


@pytest.mark.parametrize("kind", TUNINGS)
def test_tuned_run(tmp_path: Path, kind: str) -> None:
    """Frozen weights stay and have no state; full and deploy checkpoints predict the same."""
    given = config(tmp_path, TUNINGS[kind])
    runner = make_runner(given, tmp_path / "run")
    backbone = runner.model.method.student.segmentor.backbone
    runner.model.init_weights()
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    runner.train()
    for name, parameter in backbone.named_parameters():
        assert parameter.requires_grad or torch.equal(parameter, before[name]), name
    optimiser = runner.optim_wrapper.optimizer
    trained = [p for group in optimiser.param_groups for p in group["params"]]
    assert all(p.requires_grad for p in trained)
    assert len(optimiser.state) == len(trained)
    heads = runner.model.method.heads()["feature_distance"]
    assert {id(p) for p in heads.parameters()} <= {id(p) for p in trained}
    teacher = runner.model.method.teacher.network.segmentor.backbone
    assert teacher.encoder.model.cls_token is backbone.encoder.model.cls_token

    image = torch.randn(1, 3, 32, 64)
    found = []
    for file in ("iter_6.pth", "deploy/student.pth"):
        network = load_network(given, tmp_path / "run" / file)
        with torch.no_grad():
            found.append(SegmentationNetwork(network.segmentor.cpu())(image).logits)
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    deployed = Config.fromfile(tmp_path / "run/deploy/config.py").model
    plain = MODELS.build(copy.deepcopy(deployed))
    plain.load_state_dict(read_state_dict(tmp_path / "run/deploy/student.pth"))
    kept = "TunedEncoder" if kind == "rein" else "FoundationEncoder"
    assert deployed.backbone.type == kept


def test_tuned_resume(tmp_path: Path) -> None:
    """Gone on from iteration 3, the run equals one that was not stopped, to the bit."""

    given = config(tmp_path, TUNINGS["soma"])
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    run(given, straight, "off")
    killed.mkdir()
    shutil.copy(straight / "iter_3.pth", killed)
    run(given, killed, "off")
    assert_same_run(straight / "iter_6.pth", killed / "iter_6.pth")
