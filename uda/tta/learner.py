"""What a method works with: the student, its optimiser, and passes that are counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uda.tta.batch_norm import FastBatchNorm
from uda.tta.held import HeldStatistics
from uda.tta.output import Output, Precision, run
from uda.tta.parameters import Parameters
from uda.tta.samples import PixelSettings, Samples
from uda.tta.statistics import Statistics
from uda.tta.storage import FrozenConvolutions

Values = dict[str, Tensor]


@dataclass(frozen=True)
class OptimiserSettings:
    """How parameters move.

    Args:
        kind: `"sgd"` or `"adam"`.
        lr: Learning rate.
        momentum: Of SGD; of Adam it is beta 1.
        nesterov: Nesterov's momentum, SGD only.
        weight_decay: Pull towards 0.
        scaled: Whether `suggested_lr` fits the rate to architecture and batch; not where a paper
            gives it for one architecture alone.

    Raises:
        ValueError: An argument is out of range.
    """

    kind: Literal["sgd", "adam"] = "sgd"
    lr: float = 2.5e-4
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    scaled: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("sgd", "adam"):
            raise ValueError(f'optimiser has to be "sgd" or "adam", not {self.kind!r}.')
        if not self.lr >= 0:
            raise ValueError(f"lr has to be at least 0, not {self.lr}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum has to lie in [0, 1), not {self.momentum}.")

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """A torch optimiser over groups of parameters."""
        if self.kind == "adam":
            betas = (self.momentum, 0.999)
            return torch.optim.Adam(groups, lr=self.lr, betas=betas, weight_decay=self.weight_decay)
        return torch.optim.SGD(
            groups,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )


@dataclass
class Counts:
    """What was run so far."""

    forward: int = 0
    backward: int = 0
    updates: int = 0
    refused: int = 0  # updates left out because loss or gradient was not finite


@dataclass
class Learner:
    """The student of a method, and everything a step does with it.

    Attributes:
        network: The student.
        parameters: What moves, by name.
        source: Values of these parameters and of all floating-point buffers at the start.
        optimiser: Over `parameters`.
        statistics: How batch normalisation works.
        output: Where the logits are.
        pixels: How pixels enter a loss.
        precision: Of forward passes.
        generator: Draws everything random, on the CPU.
        dense: Whether predictions are maps.
        hold: Whether passes that adapt leave their statistics in `held`.
        held: For calls that only predict, see `between`.
    """

    network: nn.Module
    parameters: Parameters
    source: Values
    optimiser: torch.optim.Optimizer | None
    statistics: Statistics
    output: Output = None
    pixels: PixelSettings = field(default_factory=PixelSettings)
    precision: Precision = "full"
    generator: torch.Generator = field(default_factory=torch.Generator)
    counts: Counts = field(default_factory=Counts)
    dense: bool = False
    hold: bool = False
    held: HeldStatistics = field(default_factory=HeldStatistics)

    def __post_init__(self) -> None:
        self.by_held = False
        self.renew_scaler()

    def renew_scaler(self, state: Mapping[str, Any] | None = None) -> None:
        """A scaler of the loss for the device that the student is on now.

        Args:
            state: What one of another device or file had reached; empty: nothing.
        """
        enabled = self.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=enabled)
        if enabled and state:
            self.scaler.load_state_dict(dict(state))

    @property
    def device(self) -> torch.device:
        """Where the student is."""
        tensors = [*self.network.parameters(), *self.network.buffers()]
        return tensors[0].device if tensors else torch.device("cpu")

    def forward(self, image: Tensor, *, statistics: Statistics | None = None) -> Tensor:
        """The student's logits, with graph, by statistics that move: its own, or those given."""
        noted: dict[nn.Module, tuple[Tensor, Tensor]] = {}
        kind = statistics or self.statistics
        with (
            kind.applied(self.network, update=True, noted=noted if self.hold else None, lend=True),
            FrozenConvolutions(),
            FastBatchNorm(),
        ):
            logits = self.run(self.network, image)
        if self.hold:
            self.held.take(self.network, noted)
        return logits

    @torch.no_grad()
    def predict(self, image: Tensor) -> Tensor:
        """The student's logits; nothing moves."""
        if self.by_held and self.held:
            with self.held.applied(self.network):
                return self.run(self.network, image)
        with self.statistics.applied(self.network, update=False, lend=True):
            return self.run(self.network, image)

    @contextlib.contextmanager
    def between(self) -> Iterator[None]:
        """Run a block in which `predict` works by the statistics of the last adaptation."""
        self.by_held = self.hold
        try:
            yield
        finally:
            self.by_held = False

    @torch.no_grad()
    def teach(
        self,
        network: nn.Module,
        image: Tensor,
        *,
        statistics: Statistics | None = None,
        update: bool = True,
    ) -> Tensor:
        """Another network's logits, without graph, by the student's statistics or others."""
        with (statistics or self.statistics).applied(network, update=update), FastBatchNorm():
            return self.run(network, image)

    @torch.no_grad()
    def predict_source(self, image: Tensor) -> Tensor:
        """Logits of the unadapted model: source weights and source statistics."""
        with Statistics("source").applied(self.network, update=False), self.at_source():
            return self.run(self.network, image)

    @contextlib.contextmanager
    def at_source(self) -> Iterator[None]:
        """Run a block with the source's values in the student; its own come back afterwards."""
        own = self.values()
        swap(self.network, self.source)
        try:
            yield
        finally:
            swap(self.network, own)

    def values(self) -> Values:
        """Parameters that move and buffers, as they are; no copies."""
        return {**{n: p.data for n, p in self.parameters.items()}, **moving_buffers(self.network)}

    def run(self, network: nn.Module, image: Tensor) -> Tensor:
        """Logits of any network, in the precision asked for; counted."""
        self.counts.forward += 1
        return run(network, image, self.output, self.precision)

    def select(self, logits: Tensor, valid: Tensor | None) -> Samples:
        """The samples that the losses of one step are taken over."""
        return Samples(logits, valid, self.pixels, self.generator)

    def minimise(self, loss: Tensor) -> bool:
        """One step down the gradient of `loss`; False where it was left out.

        A loss or gradient that is not finite moves nothing.
        """
        self.zero_grad()
        if not self.backward(loss):
            return False
        return self.step()

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def backward(self, loss: Tensor) -> bool:
        """Add the gradient of `loss`; False, and no gradient, where the loss is not finite."""
        if not bool(torch.isfinite(loss)):
            self.counts.refused += 1
            return False
        self.counts.backward += 1
        self.scaler.scale(loss).backward()
        return True

    def finite_gradients(self) -> bool:
        """Whether the gradients at hand, scaled or not, are finite."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        return not gradients or bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients)))

    def step(self) -> bool:
        """Move by the gradients at hand; False where one is not finite.

        With float16 passes such a gradient makes the factor of the loss smaller.
        """
        if self.optimiser is None:
            return False
        self.scaler.unscale_(self.optimiser)
        finite = self.finite_gradients()
        if finite:
            self.scaler.step(self.optimiser)
            self.counts.updates += 1
        else:
            self.counts.refused += 1
            self.zero_grad()
        self.scaler.update()
        return finite

    @torch.no_grad()
    def restore_source(self, *, optimiser: bool = True) -> None:
        """Student back to the source; the optimiser forgets its momentum unless told to keep it."""
        load_values(self.network, self.source)
        self.held.forget()
        if optimiser and self.optimiser is not None:
            self.optimiser.state.clear()


def moving_buffers(network: nn.Module) -> Values:
    """All buffers by name: statistics and their counters, scales of adapters."""
    return dict(network.named_buffers())


def snapshot(network: nn.Module, parameters: Mapping[str, Any]) -> Values:
    """Copies of the named parameters and of all buffers of a network."""
    own = dict(network.named_parameters())
    values = {name: own[name].detach().clone() for name in parameters}
    return {**values, **{n: b.detach().clone() for n, b in moving_buffers(network).items()}}


@torch.no_grad()
def load_values(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy values into parameters and buffers of a network."""
    own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    for name, value in values.items():
        own[name].copy_(value)


@torch.no_grad()
def swap(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Let parameters and buffers of a network point to other tensors, without copying."""
    modules = dict(network.named_modules())
    for name, value in values.items():
        owner, _, key = name.rpartition(".")
        module = modules[owner]
        if key in module._buffers:
            module._buffers[key] = value
        else:
            parameter = module._parameters[key]
            if parameter is None:
                raise ValueError(f"The model has no parameter {name}.")
            parameter.data = value
