"""A batch that does not fit into memory, run through a network a few images at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from uda._token_masking import masking_as_now
from uda.structures import NetworkOutput


def in_micro_batches(
    network: nn.Module, forward: Callable[[Tensor], NetworkOutput], image: Tensor, count: int
) -> NetworkOutput:
    """The output for all images, with the activations of one part of them at a time.

    Each part's activations are dropped after its forward pass and computed again in the backward
    pass (activation checkpointing, Chen et al. 2016, over images instead of layers). What follows,
    the loss above all, sees the whole batch, so that means over the labelled pixels, thresholds and
    shares are those of the batch. Adding up gradients of small batches cannot do that: it averages
    means over different numbers of pixels.

    Gradients equal those of the batch in one piece up to rounding, except that layers which look at
    the whole batch (BatchNorm in training mode) see one part, and that Dropout draws for each part.

    Args:
        network: Its running statistics move once for each part, not again in the second pass.
        forward: The pass to run, `network`'s own.
        image: (N, 3, H, W).
        count: Number of parts.

    Returns:
        As `forward(image)` would.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), as_before(network, masking_as_now(network))

    outputs = [
        checkpoint(forward, part, use_reentrant=False, context_fn=contexts)
        for part in image.chunk(count)
    ]
    return joined(outputs)


@contextmanager
def as_before(network: nn.Module, masking: AbstractContextManager[None]) -> Iterator[None]:
    """The second run of a pass: tokens are withheld as in the first, statistics do not move."""
    with masking, frozen_statistics(network):
        yield


def joined(outputs: Sequence[NetworkOutput]) -> NetworkOutput:
    """One output for the images of several."""
    auxiliary = tuple(
        (torch.cat([logits for logits, _ in maps]), maps[0][1])
        for maps in zip(*[output.auxiliary for output in outputs], strict=True)
    )
    regions = tuple(
        parts[0]._replace(logits=torch.cat([part.logits for part in parts]))
        for parts in zip(*[output.regions for output in outputs], strict=True)
    )
    features = zip(*[output.features for output in outputs], strict=True)
    return NetworkOutput(
        torch.cat([output.logits for output in outputs]),
        tuple(torch.cat(maps) for maps in features),
        auxiliary,
        regions,
        outputs[0].share,
    )


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """BatchNorm works as ever, but on copies of its running statistics, which are then dropped."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    kept = [dict(layer._buffers) for layer in layers]
    for layer, buffers in zip(layers, kept, strict=True):
        layer._buffers.update(
            {name: None if value is None else value.clone() for name, value in buffers.items()}
        )
    try:
        yield
    finally:
        for layer, buffers in zip(layers, kept, strict=True):
            layer._buffers.update(buffers)
