"""Notices losses and gradients that are no numbers, without waiting for the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

GRADIENT = "the gradient"


class Finding(NamedTuple):
    """The first iteration with a number that is none, and where it stood.

    Attributes:
        iteration: Counted from 1.
        names: Losses and metrics as they are logged, and `GRADIENT`.
    """

    iteration: int
    names: list[str]


class NumberWatch:
    """Keeps the first iteration in which a loss or the gradient was NaN or infinite.

    Args:
        before_step: Wait for the gradient before each optimiser step, and refuse a step along one
            that is not finite. On a CPU waiting costs nothing; on a GPU it makes the host idle.
            False: steps are made, and what was found is read with `look`.
    """

    def __init__(self, *, before_step: bool = False) -> None:
        self.before_step = before_step
        self.refused = False
        self._gradient: Tensor | None = None
        self._names: tuple[str, ...] = ()
        self._first: Tensor | None = None
        self._flags: Tensor | None = None
        self._earlier: Finding | None = None

    def begin(self) -> None:
        """A new iteration: nothing is refused yet."""
        self.refused, self._gradient = False, None

    def allows(self, parameters: Iterable[nn.Parameter]) -> bool:
        """Whether the optimiser may step along the gradients of `parameters`."""
        finite = finite_gradients(parameters)
        self._gradient = finite if self._gradient is None else self._gradient & finite
        if self.before_step and not bool(finite):
            self.refused = True
        return not self.refused

    def record(self, log: Mapping[str, Tensor], iteration: int) -> None:
        """Take note of an iteration's scalars and of its gradient; nothing waits."""
        flags = {name: ~value.detach().isfinite() for name, value in log.items()}
        if self._gradient is not None:
            flags[GRADIENT] = ~self._gradient
        names = tuple(flags)
        if not names:
            return
        bad = torch.stack([flag.to(next(iter(flags.values())).device) for flag in flags.values()])
        if names != self._names or self._first is None or self._flags is None:
            # Rare: a method that makes other passes than before.
            self._earlier = self.look()
            self._names, self._flags = names, torch.zeros_like(bad)
            self._first = torch.zeros((), dtype=torch.int64, device=bad.device)
        new = (self._first == 0) & bad.any()
        self._first = torch.where(new, iteration, self._first)
        self._flags = torch.where(new, bad, self._flags)

    def look(self) -> Finding | None:
        """What was found since the last look, or None; this waits for the device."""
        found, self._earlier = self._earlier, None
        if found is not None or self._first is None or self._flags is None:
            return found
        iteration, *flags = torch.cat([self._first[None], self._flags.long()]).tolist()
        if not iteration:
            return None
        names = [name for name, bad in zip(self._names, flags, strict=True) if bad]
        self._first = None
        return Finding(iteration, names)


def finite_gradients(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Whether all gradients are finite: a bool scalar on their device.

    By the largest magnitude, which NaN passes through and which cannot overflow.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.ones((), dtype=torch.bool)
    return torch.stack(torch._foreach_norm(gradients, torch.inf)).isfinite().all()
