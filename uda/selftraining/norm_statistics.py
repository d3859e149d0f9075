"""Running statistics of batch normalisation, estimated anew on images of one's choice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Statistics = dict[str, Tensor]

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@torch.no_grad()
def estimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> Statistics:
    """The running statistics that the batch normalisation of `network` has on other images.

    Each layer normalises a batch by the batch's own mean and variance; the result is the plain
    mean of both over the batches. With images of the target domain this is adaptive batch
    normalisation (AdaBN: Li et al., "Revisiting Batch Normalization for Practical Domain
    Adaptation", 2016), the weights stay as they are. With images as they are at inference
    (whole, unscaled) it also removes what a network that learnt on crops has wrong about them.
    The network is left as it was.

    Args:
        network: Any module; layers without running statistics are passed over, and so are those
            that see a single value a channel, which has no variance.
        batches: Images (N, 3, H, W) each, as the network takes them. A few dozen images are
            enough for whole street scenes.

    Returns:
        Names as in the network's state dict, and tensors. Empty without batch normalisation.

    Raises:
        ValueError: There is no batch.

    >>> network = nn.Sequential(nn.BatchNorm2d(1))
    >>> images = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    >>> statistics = estimate_statistics(network, [images])
    >>> statistics["0.running_mean"].tolist(), statistics["0.running_var"].tolist()
    ([2.0], [2.0])
    """
    layers = norm_layers(network)
    modes = [(module, module.training) for module in network.modules()]
    momenta = [layer.momentum for layer in layers.values()]
    before = _copy(layers)
    network.eval()
    hooks = [layer.register_forward_pre_hook(_use_batch) for layer in layers.values()]
    for name, layer in layers.items():
        # With no momentum torch takes the plain mean over batches; the first replaces what was.
        layer.momentum = None
        _counter(name, layer).zero_()
    try:
        if _run(network, batches) == 0:
            raise ValueError(
                "Statistics of batch normalisation were to be estimated on no image at all; "
                "give at least one batch."
            )
        return _copy(layers)
    finally:
        for hook in hooks:
            hook.remove()
        load_statistics(network, before)
        for layer, momentum in zip(layers.values(), momenta, strict=True):
            layer.momentum = momentum
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def using_statistics(network: nn.Module, statistics: Mapping[str, Tensor]) -> Iterator[None]:
    """Run a block with other running statistics, and put the network's own back afterwards.

    Args:
        network: The network they were estimated for, or one of the same architecture.
        statistics: From `estimate_statistics`.
    """
    before = _copy(norm_layers(network))
    load_statistics(network, statistics)
    try:
        yield
    finally:
        load_statistics(network, before)


@torch.no_grad()
def load_statistics(network: nn.Module, statistics: Mapping[str, Tensor]) -> None:
    """Copy running statistics into a network.

    Args:
        network: The network they were estimated for, or one of the same architecture.
        statistics: From `estimate_statistics`.

    Raises:
        ValueError: The network has no buffer of a name.
    """
    own = dict(network.named_buffers())
    for name, value in statistics.items():
        if name not in own:
            raise ValueError(
                f"The network has no statistics {name}: they were estimated for another one; "
                "estimate them for this network."
            )
        own[name].copy_(value)


def norm_layers(network: nn.Module) -> dict[str, _BatchNorm]:
    """The layers that keep running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }


def _use_batch(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """Normalise by the batch where it has a variance, else by the layer's own statistics."""
    values = inputs[0]
    layer.training = values.numel() // values.shape[1] > 1


def _counter(name: str, layer: _BatchNorm) -> Tensor:
    counter = layer.num_batches_tracked
    if counter is None:
        raise ValueError(f"The layer {name} keeps running statistics without a counter.")
    return counter


def _run(network: nn.Module, batches: Iterable[Tensor]) -> int:
    count = 0
    for batch in batches:
        network(batch)
        count += 1
    return count


def _copy(layers: Mapping[str, _BatchNorm]) -> Statistics:
    return {
        f"{name}.{buffer}" if name else buffer: getattr(layer, buffer).clone()
        for name, layer in layers.items()
        for buffer in _BUFFERS
    }
