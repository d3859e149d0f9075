"""Several processes: one gradient exchange an optimiser step, the same buffers everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.registry import MODEL_WRAPPERS
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn

from uda.processes import shared_step


@MODEL_WRAPPERS.register_module()
class Replicated(nn.Module):
    """The same model in every process; gradients are averaged once before each step.

    mmengine's own wrapper never calls `train_step` of the model inside, and would train the
    first pass only. Here the passes of a method run locally and add up their gradients; then one
    exchange averages the sum. Every process starts from rank 0's weights and makes the same step.
    Shares, thresholds and the numbers of pixels that losses are divided by are those of all
    processes (`uda.processes`).

    Buffers (the running statistics of batch normalisation) differ after the passes, since the
    images do; after each step all processes take rank 0's, which a checkpoint holds. So all
    validate the same network, and a resumed run goes on with what it had.

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
        """The module's own training step, then rank 0's buffers."""
        with shared_step():
            log = self.module.train_step(data, optim_wrapper)
        broadcast_buffers(self.module)
        return log

    def val_step(self, data: Any) -> Any:
        """The module's own validation step."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """The module's own test step."""
        return self.module.test_step(data)

    def _average(self) -> None:
        method = self.module.method
        average_gradients(nn.ModuleList([method.trained(), *method.opponents().values()]))


def average_gradients(network: nn.Module) -> None:
    """Replace each gradient by its mean over the processes, in one exchange.

    A parameter without a gradient in this process counts as 0; one that has none in any process
    keeps none, so that weight decay does not move it. Which these are travels with the gradients,
    and is read (waiting for the device) only in a process that lacks a gradient.

    Args:
        network: Its trainable parameters have the same order in every process.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    present = [p.grad is not None for p in parameters]
    flags = gradients[0].new_ones(len(parameters))
    if not all(present):
        flags = flags.new_tensor(present)
    flat = torch.cat([*[gradient.flatten() for gradient in gradients], flags])
    torch.distributed.all_reduce(flat)
    flat /= get_world_size()
    *pieces, flags = flat.split([*[p.numel() for p in parameters], len(parameters)])
    somewhere = present if all(present) else (flags > 0).tolist()
    for parameter, piece, used in zip(parameters, pieces, somewhere, strict=True):
        parameter.grad = piece.view_as(parameter) if used else None


def broadcast_buffers(module: nn.Module) -> None:
    """Give every process the buffers of rank 0, in one exchange for each type of number."""
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for buffer in module.buffers():
        by_type.setdefault(buffer.dtype, []).append(buffer)
    for buffers in by_type.values():
        flat = torch.cat([buffer.flatten() for buffer in buffers])
        torch.distributed.broadcast(flat, 0)
        pieces = flat.split([buffer.numel() for buffer in buffers])
        for buffer, piece in zip(buffers, pieces, strict=True):
            buffer.copy_(piece.view_as(buffer))


def synchronise_batch_norm(module: nn.Module) -> None:
    """Replace BatchNorm by layers that take their statistics over all processes.

    timm's layers, which hold their activation, become timm's synchronised ones; parameters,
    buffers and their names stay.

    Args:
        module: Changed in place; not a BatchNorm layer itself.

    Raises:
        ValueError: There is no GPU; torch exchanges these statistics on CUDA alone.
    """
    if not torch.cuda.is_available():
        raise ValueError(
            "model.sync_batch_norm=True needs CUDA: torch has no synchronised BatchNorm on a CPU. "
            "Set it to False."
        )
    convert_sync_batchnorm(module)
