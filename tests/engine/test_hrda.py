"""HRDA in every method, and a run of it from training to deployment."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import mmseg.apis
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict

from tests.methods.tiny import optimisers
from tests.models.hrda_networks import CLASSES, hrda_network, images
from uda.engine.benchmark import random_batch
from uda.engine.deploy import deploy_config
from uda.engine.evaluate import evaluate, evaluation_dataset, load_network
from uda.engine.inference import mean_probs, slide
from uda.engine.model import build_method
from uda.engine.segmentor_stream import SegmentorForward
from uda.engine.train import load_config
from uda.evaluation import SegmentationMetric
from uda.methods import Method
from uda.structures import Batch
from uda.tta import adapt

from .tiny_run import hrda_network_config, make_runner, model_config, write_config

SELF_TRAINING: dict[str, Any] = {
    "type": "SelfTraining",
    "teacher": {"type": "EMATeacher"},
    "selector": {"type": "ConfidenceShare", "threshold": 0.4},
    "mixer": {"type": "ClassMix"},
    "terms": [{"type": "FeatureDistance", "classes": [0, 1, 2]}],
}
DEEP = {"type": "LookAhead", "steps": 1}
METHODS: dict[str, dict[str, Any]] = {
    "source_only": {"type": "SourceOnly", "terms": SELF_TRAINING["terms"]},
    "self_training": SELF_TRAINING,
    "joint": {**SELF_TRAINING, "backward": "joint"},
    "adversarial": {
        "type": "AdversarialWarmUp",
        "terms": [{"type": "AdversarialOutput", "channels": 4}],
    },
    "hard_aware": {"type": "HardAwareSelfTraining", "teacher": {"type": "EMATeacher"}},
    "prototypes": {**SELF_TRAINING, "teacher": {"type": "PrototypeTeacher", "channels": 16}},
    "fst_deep": {**SELF_TRAINING, "look_ahead": DEEP},
    "fst_wide": {**SELF_TRAINING, "look_ahead": {**DEEP, "mode": "wide"}},
    "masked": {**SELF_TRAINING, "terms": [{"type": "MaskedConsistency", "block_size": 8}]},
    "masked_halves": {
        **SELF_TRAINING,
        "terms": [{"type": "MaskedConsistency", "images": "halves", "block_size": 8}],
    },
    "dual": {
        "type": "DualTeacherStudent",
        "primary": SELF_TRAINING,
        "secondary": {**SELF_TRAINING, "look_ahead": DEEP},
        "target_mix": {"type": "TargetMix"},
    },
}


def built(config: dict[str, Any]) -> Method:
    """The method around the small network of two scales; a second student is another one."""

    def another() -> torch.nn.Module:
        network = hrda_network()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.1)
        return network

    method = build_method(
        copy.deepcopy(config),
        hrda_network(),
        another=another,
        num_classes=CLASSES,
        mean=(127.5,) * 3,
        std=(60.0,) * 3,
    )
    method.initialise()
    return method


def batch() -> Batch:
    return random_batch(2, (64, 64), CLASSES, torch.device("cpu"), adapting=True)


@pytest.mark.parametrize("name", METHODS)
def test_methods_learn_properties(name: str) -> None:
    """Each trains with the detail loss in its supervised passes, and moves the attention."""
    method = built(METHODS[name]).train()
    before = copy.deepcopy(method.trained().state_dict())
    log = method.training_step(batch(), optimisers(method), [batch()] * method.further_batches)
    assert all(value.isfinite() for value in log.values())
    supervised = {key.removesuffix("/ce") for key in log if key.endswith("/ce")}
    assert supervised
    assert {f"{place}/detail" for place in supervised} <= set(log)
    moved = [k for k, v in method.trained().state_dict().items() if not torch.equal(v, before[k])]
    for part in ("backbone", "decode_head", "attention_head"):
        assert any(part in key for key in moved)


def test_feature_distance_starts_at_zero_values() -> None:
    """The frozen encoder sees the same context as the student: with the same weights and without
    dropout both have the same features."""
    log = built(SELF_TRAINING).train().training_step(batch(), optimisers(built(SELF_TRAINING)))
    assert log["source/feature_distance"].item() == pytest.approx(0, abs=1e-6)


def test_teacher_predicts_with_windows_properties() -> None:
    """A training step draws as many boxes as the student has passes; the teacher draws none."""
    method = built(SELF_TRAINING).train()
    image = images()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    method.teacher.predict(image)  # type: ignore[union-attr, operator]
    assert torch.equal(torch.get_rng_state(), state)
    method.student_pass(image)
    assert not torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["tent", "bn", "cotta"])
def test_adapters_properties(name: str) -> None:
    """Test-time adaptation predicts with windows, under a graph where a method needs one."""
    segmentor = hrda_network().eval().segmentor
    adapter = adapt(SegmentorForward(segmentor), name)
    logits = adapter(images(1, (128, 128)))
    assert logits.shape == (1, CLASSES, 128, 128)
    assert logits.isfinite().all()


def margins(config: Any) -> None:
    pipeline = config.train_dataloader.dataset.target.pipeline
    pipeline.insert(1, ConfigDict(type="PseudoLabelMargins", top=20, left=4))
    pipeline[-1] = ConfigDict(type="PackTarget")


def test_margins_reach_the_method_values(tmp_path: Path) -> None:
    """The crop of 32 of 64 rows has as many rows without pseudo-labels as lie above row 20."""
    config = load_config(write_config(tmp_path))
    margins(config)
    runner = make_runner(config, tmp_path / "run")
    found = next(iter(runner.build_dataloader(config.train_dataloader, seed=0)))
    valid = runner.model.batch(found).target.valid
    assert valid.shape == (2, 32, 64)
    assert ((~valid.any(2)).sum(1) <= 20).all()
    columns = (~valid.any(1)).sum(1)
    assert (columns == 4).all()


def test_run_to_deployment(tmp_path: Path) -> None:
    """Trained, resumed into mmseg by the deploy files, scored whole, by windows and in views."""
    model = model_config(network=hrda_network_config())
    config = load_config(write_config(tmp_path, iterations=2, val_interval=2, model=model))
    margins(config)
    config.default_hooks.checkpoint.interval = 2
    runner = make_runner(config, tmp_path / "run")
    runner.train()
    deploy = tmp_path / "run" / "deploy"
    inferencer = mmseg.apis.init_model(
        str(deploy / "config.py"), str(deploy / "teacher.pth"), device="cpu"
    )
    image = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    shown = mmseg.apis.inference_model(inferencer, image).pred_sem_seg.data
    assert shown.shape == (1, 70, 90)
    network = load_network(config, tmp_path / "run" / "iter_2.pth", "student")
    dataset = evaluation_dataset(config)
    scores = [
        evaluate(network, dataset, metric=SegmentationMetric(), workers=0, **views)
        for views in ({}, {"scales": (1.0, 1.3), "flip": True})
    ]
    slide(network.segmentor, (32, 32), (16, 16))
    scores.append(evaluate(network, dataset, metric=SegmentationMetric(), workers=0))
    assert [int(score.matrix.sum()) for score in scores] == [2 * 64 * 64] * 3
    probs = mean_probs(network.segmentor, images(1, (64, 72)), (1.0, 0.8), flip=True)
    torch.testing.assert_close(probs.sum(1), torch.ones(1, 64, 72))


def test_deploy_config_values(tmp_path: Path) -> None:
    """What the network is stays in the deployed config."""
    model = model_config(network=hrda_network_config())
    kept = deploy_config(load_config(write_config(tmp_path, model=model))).model
    assert kept.type == "HRDASegmentor"
    assert tuple(kept.detail_size) == (16, 32)
