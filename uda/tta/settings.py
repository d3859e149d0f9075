"""Settings of an adapter, checked and turned into parameters and groups of an optimiser."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from uda.tta.method import Method
from uda.tta.parameters import Choice, Parameters, chosen_parameters

Protocol = Literal["continual", "online", "episodic", "offline"]
Between = Literal["held", "own"]
PROTOCOLS = ("continual", "online", "episodic", "offline")


def check(*, steps: int, protocol: str, every: int, precision: str, between: str) -> None:
    """Raise ValueError where a setting of the adapter is out of range."""
    if steps < 1 or every < 1:
        raise ValueError(f"steps and every have to be at least 1, not {steps} and {every}.")
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol has to be one of {', '.join(PROTOCOLS)}, not {protocol!r}.")
    if between not in ("held", "own"):
        raise ValueError(f'between has to be "held" or "own", not {between!r}.')
    if precision not in ("full", "bfloat16", "float16"):
        raise ValueError(f'precision has to be "full", "bfloat16" or "float16", not {precision!r}.')


def moving_parameters(method: Method, network: nn.Module, choice: Choice | None) -> Parameters:
    """What moves by name, with gradients switched on; ValueError where that is nothing."""
    moving = method.moves(network) if choice is None else chosen_parameters(network, choice)
    if method.needs in ("norm", "all") and not moving:
        raise ValueError(
            f"{type(method).__name__} would move nothing of this model; choose by parameters=."
        )
    for parameter in moving.values():
        parameter.requires_grad_(True)
    return moving


def groups(parameters: Parameters, method: Method) -> list[dict[str, Any]]:
    """One group for each learning rate."""
    groups: dict[float | None, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(method.own_lr(name), []).append(parameter)
    return [
        {"params": members} if lr is None else {"params": members, "lr": lr}
        for lr, members in groups.items()
    ]
