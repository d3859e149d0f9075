"""SAR: its recovery on models that are sure, and float16 losses that overflow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.tta.tiny import images, network
from uda.tta import Adapter, adapt
from uda.tta.methods import SAR


def sure_segmenter() -> nn.Module:
    """Its entropy is far below the paper's 0.2 from the start."""
    made = network("segmenter")
    with torch.no_grad():
        made[1].bias.fill_(2)
        made[3].weight.mul_(2)
    return made


def resets(recovery: Any, **settings: Any) -> tuple[Adapter, int]:
    """A model after six steps, and how often it recovered."""
    method = SAR(recovery=recovery, skip=[], margin=1.0, **settings)
    model = adapt(sure_segmenter(), method, lr=1e-3, statistics="source", guard=False)
    for seed in range(6):
        model(images(2, seed))
    return model, method.resets


def test_recovery_of_sure_models() -> None:
    """Released code recovers at every step of a segmentor; clean, what is learnt stays."""
    model, count = resets("reference")
    assert count == 6
    model, count = resets("clean")
    assert count == 0
    assert 0 < model.method.started < 0.2 * math.log(5) / math.log(1000)
    assert model.report()["details"]["resets"] == 0
    moved = model.learner.parameters["1.weight"]
    assert not torch.equal(moved, model.learner.source["1.weight"])


def test_limit_values() -> None:
    """0.2 for 1000 classes, and at most a fifth of the start; the paper's, or one of one's own."""
    method = SAR()
    assert method.limit(1000) == pytest.approx(0.2)
    assert method.limit(10) == pytest.approx(0.2 / 3)
    method.started = 0.05
    assert method.limit(1000) == pytest.approx(0.01)
    assert SAR(recovery="reference").limit(10) == 0.2
    assert SAR(reset_below=0.5).limit(10) == SAR(reset_below=0.5).limit(1000) == 0.5


def test_recovery_still_fires() -> None:
    """Where entropy falls to a fifth of its start, as in a collapse, the source comes back."""
    method = SAR(skip=[], margin=1.0)
    model = adapt(sure_segmenter(), method, lr=1e-3, statistics="source", guard=False)
    model(images(2))
    method.average = method.started / 1000
    model(images(2))
    assert method.resets == 1
    assert method.average is method.started is None
    assert torch.equal(model.learner.parameters["1.weight"], model.learner.source["1.weight"])


def test_started_survives_a_file() -> None:
    """The start of the average is part of the state; states from before it had none."""
    method = SAR()
    method.remember({"average": 0.3, "resets": 2})
    assert (method.started, method.average) == (0.3, 0.3)
    method.started = 0.4
    other = SAR()
    other.remember(method.memory())
    assert (other.started, other.average, other.resets) == (0.4, 0.3, 2)


def test_float16_overflow() -> None:
    """A factor so large that gradients are infinite: it falls until steps succeed."""
    method = SAR(skip=[], margin=1.0)
    model = adapt(network("segmenter"), method, precision="float16", guard=False, lr=1e-3)
    model.predict(images())
    scaler = model.learner.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**127})
    for seed in range(150):
        model(images(2, seed))
        assert all(torch.isfinite(p).all() for p in model.learner.parameters.values())
        if model.report()["updates"] > 2:
            break
    report = model.report()
    assert report["refused"] > 5
    assert report["updates"] > 2
    assert scaler.get_scale() < 2.0**110
