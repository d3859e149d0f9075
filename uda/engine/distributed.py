"""Several processes: one gradient exchange an optimiser step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn


@MODEL_WRAPPERS.register_module()
class Replicated(nn.Module):
    """The same model in every process; gradients are averaged once before each step.

    mmengine's own wrapper never calls `train_step` of the model inside, and would train the
    first pass only. Here the passes of a method run locally and add up their gradients; then one
    exchange averages the sum. Every process starts from rank 0's weights and makes the same step.

    Args:
        module: The model.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module: Any = module
        module.average_gradients = self._average  # type: ignore[assignment]
        for tensor in self.module.state_dict().values():
            torch.distributed.broadcast(tensor, 0)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own forward."""
        return self.module(*args, **kwargs)

    def train_step(self, data: Mapping[str, Any], optim_wrapper: Any) -> Any:
        """The module's own training step."""
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> Any:
        """The module's own validation step."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """The module's own test step."""
        return self.module.test_step(data)

    def _average(self) -> None:
        average_gradients(self.module.method.student)


def average_gradients(network: nn.Module) -> None:
    """Replace each gradient by its mean over the processes, in one exchange.

    A parameter without a gradient in this process counts as 0.

    Args:
        network: Its trainable parameters have the same order in every process.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= get_world_size()
    pieces: tuple[Tensor, ...] = flat.split([p.numel() for p in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)
