"""Tensors inside dicts, lists and optimisers, where a module's own `to` does not reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same structure of dicts, lists and tuples, with `change` done to each tensor.

    The count of steps that Adam keeps under the name `step` is left on the CPU, where torch wants
    it.

    >>> mapped({"a": [torch.zeros(1), 2]}, lambda tensor: tensor + 1)
    {'a': [tensor([1.]), 2]}
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {
            key: inner if key == "step" else mapped(inner, change) for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(mapped(inner, change) for inner in value)
    return value


def map_optimiser(optimiser: torch.optim.Optimizer, change: Callable[[Tensor], Tensor]) -> None:
    """Do `change` to the state that an optimiser keeps for each entry of its parameters.

    Adam's count of steps is left on the CPU, where torch wants it.
    """
    for parameter, state in optimiser.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                state[name] = change(value)
