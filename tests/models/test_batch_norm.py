"""Frozen batch normalisation: what stays, in training, in evaluation and in copies."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from tests.engine.tiny_run import model_config
from uda.models import SegmentationNetwork

IMAGE = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))


def network(batch_norm: Any) -> SegmentationNetwork:
    """A small network whose head has BatchNorm, always with the same weights, without draws."""
    torch.manual_seed(0)
    settings = model_config()["network"]
    settings["decode_head"]["dropout_ratio"] = 0.0
    settings["backbone"]["drop_path_rate"] = 0.0
    return SegmentationNetwork.from_config(settings, batch_norm=batch_norm)


def layers(module: nn.Module) -> list[nn.BatchNorm2d]:
    """Its BatchNorm layers."""
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def step(student: SegmentationNetwork) -> tuple[torch.Tensor, bool, bool]:
    """Logits in training, and whether running statistics and scales have moved."""
    before = [(one.running_mean.clone(), one.weight.clone()) for one in layers(student)]  # type: ignore[union-attr]
    optimiser = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], 0.1)
    logits = student.train()(IMAGE).logits
    logits.square().mean().backward()
    optimiser.step()
    after = [(one.running_mean, one.weight) for one in layers(student)]
    moved = [
        any(not torch.equal(old[place], new[place]) for old, new in zip(before, after, strict=True))  # type: ignore[arg-type]
        for place in (0, 1)
    ]
    return logits.detach(), moved[0], moved[1]


@pytest.mark.parametrize(
    ("kind", "moves"),
    [("trained", (True, True)), ("affine_frozen", (True, False)), ("frozen", (False, False))],
)
def test_what_moves_values(kind: str, moves: tuple[bool, bool]) -> None:
    """Statistics and scale of each kind; everything else is trained in all of them."""
    student = network(kind)
    assert layers(student)
    frozen = {id(p) for layer in layers(student) for p in layer.parameters()}
    assert all(p.requires_grad == (kind == "trained" or id(p) not in frozen)
               for p in student.parameters())  # fmt: skip
    assert step(student)[1:] == moves


def test_training_output_values() -> None:
    """Frozen, training computes what evaluation does; affine frozen, what training does."""
    evaluated = network("trained").eval()(IMAGE).logits
    trained = network("trained").train()(IMAGE).logits
    assert torch.equal(step(network("frozen"))[0], evaluated)
    assert torch.equal(step(network("affine_frozen"))[0], trained)
    assert not torch.equal(evaluated, trained)


def test_copies_values() -> None:
    """A copy, such as a teacher, is frozen as well, whatever mode it is put into."""
    teacher = copy.deepcopy(network("frozen")).eval().train()
    assert not any(layer.training for layer in layers(teacher))
    assert teacher.segmentor.decode_head.training


def test_wrapping_changes_no_mode() -> None:
    """A segmentor in evaluation mode stays there."""
    segmentor = network("trained").segmentor.eval()
    assert not any(layer.training for layer in layers(SegmentationNetwork(segmentor)))


def test_errors() -> None:
    """Another word."""
    with pytest.raises(ValueError, match=r"batch_norm has to be one of .*'frozen'\], not 'eval'"):
        network("eval")
