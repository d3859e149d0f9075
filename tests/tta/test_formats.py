"""Every method in channels-last and in reduced precision, and models that are hard to read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.tta.test_adapter import BIG, CASES, settings_of
from tests.tta.tiny import images, network
from uda.tta import adapt, inspect

CONVOLUTIONAL = [(name, kind) for name, kind in CASES if kind != "transformer"]


@pytest.mark.parametrize(("name", "kind"), CONVOLUTIONAL, ids=lambda value: value)
def test_channels_last(name: str, kind: str) -> None:
    """The same logits, and what moves stays in its format."""
    last = torch.channels_last
    settings = {"guard": False, **BIG, **settings_of(name)}
    if name == "vida":
        settings["lr"] = 1e-3  # Adam makes visible steps of rounding errors
    plain = adapt(network(kind), name, **settings)
    model = adapt(network(kind).to(memory_format=last), name, **settings)
    for seed in range(3):
        image = images(4, seed)
        found = model(image.contiguous(memory_format=last))
        torch.testing.assert_close(found, plain(image), atol=1e-4, rtol=1e-3)
    weight = next(p for p in model.network.parameters() if p.ndim == 4)
    assert weight.is_contiguous(memory_format=last)
    model.reset()
    assert weight.is_contiguous(memory_format=last)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize(("name", "kind"), CASES, ids=lambda value: value)
def test_precision(name: str, kind: str, precision: Any) -> None:
    """Finite float32 logits and float32 parameters; those that learn have learnt."""
    settings = {"guard": False, "precision": precision, **settings_of(name)}
    model = adapt(network(kind), name, **settings)
    for seed in range(3):
        logits = model(images(4, seed))
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()
    assert all(p.dtype == torch.float32 for p in model.network.parameters())
    if name not in ("bn", "lame"):
        assert model.report()["updates"] > 0


class FrozenBatchNorm2d(nn.Module):
    """As torchvision's detection models have it: everything is a buffer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("weight", "running_var"):
            self.register_buffer(name, torch.ones(width))
        for name in ("bias", "running_mean"):
            self.register_buffer(name, torch.zeros(width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


def test_inspect_frozen_layers() -> None:
    """Layers whose weights are buffers, and those without weights: told."""
    frozen = nn.Sequential(nn.Conv2d(3, 4, 1), FrozenBatchNorm2d(4), nn.Conv2d(4, 2, 1))
    found = inspect(frozen)
    assert any("1 FrozenBatchNorm2d" in sentence for sentence in found.warnings)
    assert "tent" in found.refused
    bare = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False))
    found = inspect(bare)
    assert any("have no weights of their own" in sentence for sentence in found.warnings)
    assert "bn" in found.methods
    assert "tent" in found.refused


def test_inspect_fused() -> None:
    """A fused network: no layer left, the reason names fusing; one that is not says nothing."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    assert not any("fused" in sentence for sentence in inspect(model).warnings)
    fused = nn.Sequential(torch.nn.utils.fuse_conv_bn_eval(model[0], model[1]))
    found = inspect(fused)
    assert "fused" in found.refused["tent"]


def test_inspect_training_mode() -> None:
    """Batch normalisation in training mode was perhaps never meant to be deployed."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    assert any("in training mode" in sentence for sentence in inspect(model).warnings)
    assert not any("in training mode" in sentence for sentence in inspect(model.eval()).warnings)
