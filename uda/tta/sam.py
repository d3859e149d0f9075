"""The first step of sharpness-aware minimisation: to the worst point nearby, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SharpnessAscent:
    """Moves parameters by `rho g / (||g|| + 1e-12)` along their gradient, and back.

    Foret et al., ICLR 2021, eq. 2; SAR (Niu et al., ICLR 2023) minimises entropy at the moved
    point. The length of the gradient cancels, so that a loss scaled for half precision changes
    nothing.

    Args:
        parameters: What moves; those without gradient stay.
        rho: Length of the move.

    Raises:
        ValueError: `rho` is negative.

    >>> weight = nn.Parameter(torch.tensor([1.0]))
    >>> weight.grad = torch.tensor([-3.0])
    >>> ascent = SharpnessAscent([weight], rho=0.5)
    >>> ascent.climb()
    >>> round(weight.item(), 6)
    0.5
    >>> ascent.descend()
    >>> weight.item()
    1.0
    """

    def __init__(self, parameters: Sequence[nn.Parameter], *, rho: float = 0.05) -> None:
        if rho < 0:
            raise ValueError(f"rho is the length of a move, at least 0, not {rho}.")
        self.parameters, self.rho = list(parameters), rho
        self._before: list[Tensor] = []

    @torch.no_grad()
    def climb(self) -> None:
        """Move up the gradient and forget it."""
        moved = [p for p in self.parameters if p.grad is not None]
        # Kept whole: adding and subtracting would not give the same bits back.
        self._before = [p.detach().clone() for p in self.parameters]
        if not moved:
            return
        lengths = torch.stack([torch.linalg.vector_norm(_gradient(p)) for p in moved])
        scale = self.rho / (torch.linalg.vector_norm(lengths) + 1e-12)
        for parameter in moved:
            parameter.add_(_gradient(parameter) * scale)
            parameter.grad = None

    @torch.no_grad()
    def descend(self) -> None:
        """Go back to where `climb` started; gradients stay."""
        for parameter, before in zip(self.parameters, self._before, strict=True):
            parameter.copy_(before)
        self._before = []


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise ValueError("The parameter has no gradient.")
    return parameter.grad
