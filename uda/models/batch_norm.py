"""Batch normalisation that does not learn: what is meant by a frozen one."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

BatchNorm = Literal["trained", "affine_frozen", "frozen"]


def check_batch_norm(kind: str) -> BatchNorm:
    """`kind`, if it is one.

    Raises:
        ValueError: It is none.
    """
    for known in get_args(BatchNorm):
        if kind == known:
            found: BatchNorm = known
            return found
    raise ValueError(
        f"batch_norm has to be one of {list(get_args(BatchNorm))}, not {kind!r}: what learns."
    )


def freeze_affine(network: nn.Module) -> None:
    """Let no optimiser move scale and shift of the BatchNorm layers of a network."""
    for layer in _layers(network):
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)


def freeze_statistics(network: nn.Module) -> None:
    """Have the BatchNorm layers of a network use their running statistics, and leave them alone.

    To be called after each `train()`, which undoes it.
    """
    for layer in _layers(network):
        layer.eval()


def _layers(network: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
