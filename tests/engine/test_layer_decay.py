"""Layer-wise decay: hand-derived ladders, timm's own one, and groups of the optimiser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from uda.engine.layer_decay import layer_factors
from uda.engine.optim import ParameterGroups


def vit(**arguments: Any) -> nn.Module:
    """A ViT of twelve thin blocks."""
    return timm.create_model(
        "vit_tiny_patch16_224", embed_dim=8, num_heads=2, num_classes=0, **arguments
    )


def test_ladder_values() -> None:
    """Block 11 of 12 has 0.1, block 10 has 0.09, the stem 0.1 * 0.9^12; an adapter none."""
    names = [f"backbone.vit.blocks.{i}.attn.w" for i in range(12)]
    further = ["backbone.vit.pos_embed", "backbone.vit.norm.weight", "backbone.adapter.w", "head.w"]
    factors = layer_factors([*further, *names], rate=0.9, lr_mult=0.1)
    assert factors["backbone.vit.blocks.11.attn.w"] == pytest.approx(0.1)
    assert factors["backbone.vit.blocks.10.attn.w"] == pytest.approx(0.09)
    assert factors["backbone.vit.pos_embed"] == pytest.approx(0.1 * 0.9**12)
    assert factors["backbone.vit.norm.weight"] == pytest.approx(0.1)
    assert "backbone.adapter.w" not in factors
    assert "head.w" not in factors


def test_ladder_parity() -> None:
    """timm's `param_groups_layer_decay` has the same ladder, for every parameter."""
    network = vit()
    theirs = {
        id(p): group["lr_scale"]
        for group in param_groups_layer_decay(network, layer_decay=0.9)
        for p in group["params"]
    }
    named = {f"backbone.{name}": p for name, p in network.named_parameters()}
    factors = layer_factors(named, rate=0.9, lr_mult=1.0)
    assert factors.keys() == named.keys()
    for name, parameter in named.items():
        assert factors[name] == pytest.approx(theirs[id(parameter)]), name


@pytest.mark.parametrize("name", ["convnext_atto", "swin_tiny_patch4_window7_224"])
def test_stages_values(name: str) -> None:
    """Blocks of four stages are numbered through; what lies between belongs to the next block."""
    network = timm.create_model(name, features_only=True)
    names = [f"backbone.model.{n}" for n, _ in network.named_parameters()]
    factors = layer_factors(names, rate=0.9, lr_mult=1.0)
    assert factors.keys() == set(names)
    assert len(set(factors.values())) == 13  # twelve blocks and the stem
    between = next(n for n in names if "_3.downsample" in n)
    first = next(n for n in names if "_3.blocks.0." in n)
    assert factors[between] == factors[first] == pytest.approx(0.9)


def test_two_networks_values() -> None:
    """Two coupled students have a ladder each, not one of double length."""
    names = [f"{k}.backbone.blocks.{i}.w" for k in (0, 1) for i in (0, 1)]
    factors = layer_factors(names, rate=0.5, lr_mult=1.0)
    assert [factors[name] for name in names] == [0.5, 1.0, 0.5, 1.0]


def groups(student: nn.Module, **paramwise: Any) -> list[dict[str, Any]]:
    """The optimiser's groups for a student, at 1e-3."""
    optimizer = {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01}
    constructor = ParameterGroups({"type": "OptimWrapper", "optimizer": optimizer}, paramwise)
    model: Any = SimpleNamespace(method=SimpleNamespace(student=student))
    found: list[dict[str, Any]] = constructor(model).optimizer.param_groups
    return found


def test_groups_values() -> None:
    """Every trainable parameter is in exactly one group; frozen ones in none."""
    student = nn.Module()
    student.backbone, student.head = vit(depth=2), nn.Linear(8, 2)
    student.backbone.patch_embed.requires_grad_(False)
    found = groups(student, layer_decay={"rate": 0.9, "lr_mult": 0.1}, batch_size=4)
    members = [id(p) for group in found for p in group["params"]]
    assert len(members) == len(set(members))
    assert set(members) == {id(p) for p in student.parameters() if p.requires_grad}
    top = 1e-3 * 4**0.5
    rates = sorted({group["lr"] for group in found})
    assert rates == pytest.approx([top * 0.1 * 0.81, top * 0.1 * 0.9, top * 0.1, top])


def test_groups_with_keys_values() -> None:
    """Factors by name multiply those of the depth."""
    student = nn.Module()
    student.backbone = vit(depth=1)
    keys = {"norm": {"lr_mult": 3.0, "decay_mult": 0.0}}
    found = groups(student, layer_decay={"lr_mult": 1.0}, custom_keys=keys)
    of_norm = [group for group in found if group["weight_decay"] == 0]
    assert [group["lr"] for group in of_norm] == pytest.approx([3e-3])


WRONG = [
    ({"layer_decay": {"rat": 0.9}}, r"layer_decay takes \['rate', 'lr_mult', 'within'\]"),
    ({"layer_decay": {"rate": 1.5}}, r"rate has to lie in \(0, 1\] and lr_mult above 0"),
    ({"batch_size": 0}, "batch_size is at least 1, not 0"),
    ({"batch": 2}, "takes only custom_keys, layer_decay and batch_size"),
    ({"layer_decay": {}}, "no trainable parameter below 'backbone' is called blocks"),
]


@pytest.mark.parametrize(("paramwise", "message"), WRONG)
def test_groups_errors(paramwise: dict[str, Any], message: str) -> None:
    """Each wrong setting is told."""
    with pytest.raises(ValueError, match=message):
        groups(nn.Sequential(torch.nn.Linear(1, 1)), **paramwise)
