"""What `inspect` finds, and which models are refused with which reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.tta.tiny import Transformer, classifier, images, network
from uda.tta import METHODS, adapt, inspect
from uda.tta.inspection import NEEDS


def test_inspect_values() -> None:
    """Layers, what moves, which methods fit, settings."""
    found = inspect(classifier(), batch_size=8)
    assert (found.norm_layers, found.moving) == ({"BatchNorm2d": 1}, 12)
    assert found.moving_names == ["1.weight", "1.bias"]
    assert set(found.methods) == set(METHODS) - {"vida"}
    assert found.suggested["lr (SGD with momentum 0.9)"] == pytest.approx(2.5e-4 / 4)
    assert any("batches of 8 say little" in sentence for sentence in found.warnings)
    text = str(found)
    assert "norm-only methods move 12 of" in text
    assert "not vida: it needs linear layers" in text


def test_inspect_kinds() -> None:
    """SyncBatchNorm and BatchNorm1d count; dropout in training mode, bare layers are told."""
    model = nn.Sequential(
        nn.SyncBatchNorm(3), nn.BatchNorm1d(3), nn.BatchNorm2d(3, track_running_stats=False)
    )
    model.append(nn.Dropout())
    found = inspect(model.train(), batch_size=32)
    assert found.norm_layers == {"SyncBatchNorm": 1, "BatchNorm1d": 1, "BatchNorm2d": 1}
    assert found.moving == 18
    words = " ".join(found.warnings)
    for part in ("SyncBatchNorm shares statistics", "1 layers of batch norm", "in training mode"):
        assert part in words
    assert "lame" not in inspect(classifier(), dense=True).methods
    transformer = inspect(Transformer())
    assert "vida" in transformer.methods
    assert "bn" in transformer.refused


def test_needs_match_methods() -> None:
    """The table of needs names every method, and agrees with the classes."""
    assert list(NEEDS) == list(METHODS)
    for name, cls in METHODS.items():
        special = {"adaptable": "all", "classifier": "nothing"}
        assert special.get(NEEDS[name], NEEDS[name]) == cls.needs


def test_refusals() -> None:
    """Scripts, graphs, fused models, weights of inference mode: each with its reason."""
    with pytest.raises(TypeError, match="TorchScript model hides its layers"):
        adapt(torch.jit.trace(network("classifier"), images()), "tent")
    graph = torch.export.export(network("classifier"), (images(),)).module()
    with pytest.raises(TypeError, match="exported graph has no layers"):
        adapt(graph, "tent")
    with pytest.raises(ValueError, match="fused for deployment"):
        adapt(nn.Sequential(nn.Conv2d(3, 2, 1)), "tent")
    with pytest.raises(ValueError, match="no batch normalisation"):
        adapt(Transformer(), "bn")
    with pytest.raises(TypeError, match="Only an nn.Module can be adapted, not a function"):
        adapt(lambda image: image, "tent")  # type: ignore[arg-type]
    with torch.inference_mode():
        made = classifier()
    with pytest.raises(ValueError, match="made under torch.inference_mode"):
        adapt(made, "tent")
    assert "tent" in inspect(nn.Sequential(nn.Conv2d(3, 2, 1))).refused


def test_choice_without_norm() -> None:
    """A fused model adapts where the user says what moves."""
    model = adapt(nn.Sequential(nn.Conv2d(3, 2, 1)), "tent", parameters="all", guard=False)
    model(images())
    assert model.report()["updates"] == 1


def test_compiled() -> None:
    """Of a compiled model the module inside is adapted."""
    model = adapt(torch.compile(network("classifier"), backend="eager"), "tent", guard=False)
    wanted = adapt(network("classifier"), "tent", guard=False)
    assert torch.equal(model(images()), wanted(images()))
