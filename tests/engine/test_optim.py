"""Parameter groups: who learns how fast, by name."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from mmengine.optim import OptimWrapperDict
from torch import nn

from uda.engine.optim import BFloat16OptimWrapper, ParameterGroups


class Student(nn.Module):
    """Names as in DAFormer: backbone, its norm, a head with a norm, something frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"conv": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
        self.decode_head = nn.ModuleDict({"fuse": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


KEYS = {
    "head": {"lr_mult": 10.0},
    "norm": {"decay_mult": 0.0},
    "pos_block": {"decay_mult": 0.0},
}


def constructor(keys: Any = KEYS) -> ParameterGroups:
    """The constructor with AdamW at 6e-5 and decay 0.01."""
    optimizer = {"type": "AdamW", "lr": 6e-5, "weight_decay": 0.01}
    return ParameterGroups({"type": "OptimWrapper", "optimizer": optimizer}, {"custom_keys": keys})


@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("backbone.block1.0.attn.q.weight", (1.0, 1.0)),
        ("backbone.block1.0.norm1.bias", (1.0, 0.0)),
        ("decode_head.fuse_layer.bn.weight", (10.0, 1.0)),  # BatchNorm here is called bn
        ("backbone.pos_block.weight", (1.0, 0.0)),
    ],
)
def test_factors_values(name: str, factors: tuple[float, float]) -> None:
    """DAFormer's rule: head ten times as fast, norm without decay, everything else as it is."""
    assert constructor().factors(name) == factors


def test_factors_longest_key_values() -> None:
    """The longest matching key wins; among equals the first in the alphabet. None adds up."""
    keys = {"norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}, "head.norm": {"lr_mult": 3.0}}
    assert constructor(keys).factors("decode_head.norm.weight") == (3.0, 1.0)
    del keys["head.norm"]
    assert constructor(keys).factors("decode_head.norm.weight") == (10.0, 1.0)


def test_parameter_groups_values() -> None:
    """Three groups: plain (6e-5, 0.01), norm (6e-5, 0), head (6e-4, 0.01), nothing frozen."""
    student = Student()
    model = nn.Module()
    model.method = nn.Module()
    model.method.student = student
    model.method.teacher = Student()
    model.method.trained = lambda: student  # type: ignore[assignment]
    model.method.opponents = dict  # type: ignore[assignment]
    wrapper = constructor()(model)
    found = {
        (group["lr"], group["weight_decay"]): {id(p) for p in group["params"]}
        for group in wrapper.optimizer.param_groups
    }
    wanted = {
        (6e-5, 0.01): student.backbone["conv"],
        (6e-5, 0.0): student.backbone["norm"],
        (6e-5 * 10.0, 0.01): student.decode_head,
    }
    assert found == {key: {id(p) for p in module.parameters()} for key, module in wanted.items()}


def test_parameter_groups_errors() -> None:
    """Unknown settings and factors are named."""
    with pytest.raises(ValueError, match=r"takes only custom_keys, .* not \['norm_decay_mult'\]"):
        ParameterGroups({}, {"norm_decay_mult": 0.0})
    message = r"custom_keys\['head'\] takes \['lr_mult', 'decay_mult'\], not \['lr'\]"
    with pytest.raises(ValueError, match=message):
        constructor({"head": {"lr": 1.0}})


def test_bfloat16_wrapper_values() -> None:
    """Products are bfloat16 inside the context; weights and gradients stay float32."""
    layer = nn.Linear(4, 4)
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1))
    with wrapper.optim_context(layer):
        result = layer(torch.ones(1, 4))
    assert result.dtype == torch.bfloat16
    wrapper.update_params(result.float().sum())
    assert layer.weight.dtype == torch.float32
    assert layer(torch.ones(1, 4)).dtype == torch.float32


def test_opponents_values() -> None:
    """A discriminator gets its own optimiser, wrapped alike, without the student's clipping."""
    model = nn.Module()
    model.method = nn.Module()
    model.method.student = Student()
    discriminator = nn.Linear(2, 1)
    model.method.opponents = lambda: {"discriminator": discriminator}  # type: ignore[assignment]
    settings = {
        "type": "BFloat16OptimWrapper",
        "optimizer": {"type": "SGD", "lr": 0.1},
        "clip_grad": {"max_norm": 1.0},
        "opponents": {"discriminator": {"type": "Adam", "lr": 1e-4, "betas": (0.9, 0.99)}},
    }
    wrapper = ParameterGroups(settings)(model)
    assert isinstance(wrapper, OptimWrapperDict)
    assert list(wrapper.keys()) == ["student", "discriminator"]
    for name in wrapper.keys():  # noqa: SIM118 - it has no __iter__
        assert isinstance(wrapper[name], BFloat16OptimWrapper)
    (group,) = wrapper["discriminator"].param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in discriminator.parameters()}
    assert (group["lr"], group["betas"]) == (1e-4, (0.9, 0.99))
    clipped = [bool(wrapper[name].clip_grad_kwargs) for name in ("student", "discriminator")]
    assert clipped == [True, False]


def test_opponent_errors() -> None:
    """An opponent without optimiser, and an optimiser without opponent."""
    model = nn.Module()
    model.method = nn.Module()
    model.method.student = Student()
    for have, given in (({"discriminator": nn.Linear(1, 1)}, {}), ({}, {"critic": {}})):
        model.method.opponents = lambda have=have: have  # type: ignore[assignment]
        settings = {"optimizer": {"type": "SGD", "lr": 0.1}, "opponents": given}
        message = rf"opponents {sorted(have)}, optim_wrapper.opponents the optimisers"
        with pytest.raises(ValueError, match=re.escape(message)):
            ParameterGroups(settings)(model)
