"""Statistics of the last adaptation, by which the calls until the next one predict."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uda.selftraining.norm_statistics import norm_layers

Moments = tuple[Tensor, Tensor]


class HeldStatistics:
    """Mean and variance that each layer of batch normalisation used when the model last adapted.

    A call that only predicts by them costs what plain inference costs; by its own statistics it
    costs half as much again on a CPU.
    """

    def __init__(self) -> None:
        self.values: dict[str, Moments] = {}

    def __bool__(self) -> bool:
        return bool(self.values)

    def forget(self) -> None:
        """As before the first adaptation."""
        self.values = {}

    @torch.no_grad()
    def take(self, network: nn.Module, noted: Mapping[nn.Module, Moments]) -> None:
        """Keep what a pass used: `Statistics.applied` notes it, by layer."""
        names = {layer: name for name, layer in norm_layers(network).items()}
        self.values = {
            names[layer]: (mean.detach().clone(), variance.detach().clone())
            for layer, (mean, variance) in noted.items()
            if layer in names
        }

    @contextlib.contextmanager
    def applied(self, network: nn.Module) -> Iterator[None]:
        """Run a block in evaluation mode by these statistics; all comes back afterwards.

        A layer that nothing was kept of uses its stored ones.
        """
        modes = [(module, module.training) for module in network.modules()]
        layers = norm_layers(network)
        before = {
            name: (layer.running_mean, layer.running_var)
            for name, layer in layers.items()
            if name in self.values
        }
        network.eval()
        for name in before:
            set_moments(layers[name], self.values[name])
        try:
            yield
        finally:
            for name, stored in before.items():
                set_moments(layers[name], stored)
            for module, training in modes:
                module.training = training

    def state(self) -> dict[str, list[Tensor]]:
        """For a file."""
        return {name: list(pair) for name, pair in self.values.items()}

    def load(self, state: Mapping[str, list[Tensor]]) -> None:
        """Take over what `state` gave."""
        self.values = {name: (pair[0], pair[1]) for name, pair in state.items()}


def set_moments(layer: _BatchNorm, moments: tuple[Tensor | None, Tensor | None]) -> None:
    """Let a layer's stored statistics be other tensors."""
    layer.running_mean, layer.running_var = moments
