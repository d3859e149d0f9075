"""Learning rates by the part of the network that learns at them."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from uda.engine.live.rates import LearningRates, group_names


def network() -> nn.ModuleDict:
    """Names as those of a student with two blocks, a neck and a head, and a head of a term."""
    blocks = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    parts = nn.ModuleDict(
        {"backbone": blocks, "neck": nn.Linear(1, 1), "decode_head": nn.Linear(1, 1)}
    )
    student = nn.ModuleDict({"segmentor": parts})
    return nn.ModuleDict({"student": student, "heads": nn.ModuleDict({"pixel": nn.Linear(1, 1)})})


def group(rate: float, *modules: nn.Module) -> dict[str, Any]:
    """A group of an optimiser."""
    return {"params": [p for module in modules for p in module.parameters()], "lr": rate}


def test_group_names_values() -> None:
    """Rates of one part are told by their share of the highest, parts of one rate together."""
    trained = network()
    parts: Any = trained["student"]["segmentor"]  # type: ignore[index]
    groups = [
        group(0.5, parts["backbone"][0]),
        group(2.0, parts["decode_head"]),
        group(1.0, parts["backbone"][1]),
        group(0.25, parts["neck"], trained["heads"]),
        group(2.0, nn.Linear(1, 1)),
    ]
    assert group_names(groups, trained) == {
        "backbone/x0.25": 0,
        "decode_head+other": 1,
        "backbone/x0.5": 2,
        "heads+neck": 3,
    }


def test_group_names_many_values() -> None:
    """More than three parts at one rate are not all named; warmed up rates go by their start."""
    trained = nn.ModuleDict({name: nn.Linear(1, 1) for name in "abcd"})
    first = {**group(0.0, *trained.values()), "initial_lr": 3.0}
    assert group_names([first], trained) == {"a+b+c+more": 0}


def test_learning_rates_values() -> None:
    """Those of now, of the student and of an opponent."""
    trained = nn.ModuleDict({"backbone": nn.Linear(1, 1), "decode_head": nn.Linear(1, 1)})
    groups = [group(1.0, trained["backbone"]), group(10.0, trained["decode_head"])]
    student = OptimWrapper(torch.optim.SGD(groups, lr=1.0))
    opponent = OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=7.0))
    rates = LearningRates(OptimWrapperDict(student=student, discriminator=opponent), trained)
    student.optimizer.param_groups[1]["lr"] = 5.0
    assert rates.now() == {"backbone": 1.0, "decode_head": 5.0, "discriminator": 7.0}
    assert LearningRates(student, trained).now() == {"backbone": 1.0, "decode_head": 5.0}
