"""Keeping state aside and putting it back to the bit: weights, buffers, optimiser, random draws."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Snapshot:
    """Copies of tensors, which can be written back into them.

    Args:
        tensors: What may be changed in the meantime; they stay the same objects.

    >>> weight = torch.ones(2)
    >>> before = Snapshot([weight])
    >>> weight.zero_()
    tensor([0., 0.])
    >>> before.put_back()
    >>> weight
    tensor([1., 1.])
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        # One list for each device and type: only such lists are copied by few calls.
        self._groups: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
        for tensor in tensors:
            own, copies = self._groups.setdefault((tensor.device, tensor.dtype), ([], []))
            own.append(tensor.detach())
            copies.append(tensor.detach().clone())

    @torch.no_grad()
    def put_back(self) -> None:
        """Write the copies into the tensors."""
        for own, copies in self._groups.values():
            torch._foreach_copy_(own, copies)


class OptimiserSnapshot:
    """The state that an optimiser keeps for some parameters: moments, momentum, counters.

    Args:
        optimiser: Any torch optimiser.
        parameters: Those whose state is kept.
    """

    def __init__(
        self, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]
    ) -> None:
        self._state, self._parameters = optimiser.state, parameters
        known: dict[nn.Parameter, dict[str, Any]] = {
            p: dict(self._state[p]) for p in parameters if p in self._state
        }
        self._known = known
        self._tensors = Snapshot(
            value
            for state in known.values()
            for value in state.values()
            if isinstance(value, Tensor)
        )

    def put_back(self) -> None:
        """Restore all values; what has come up since is forgotten."""
        for parameter in self._parameters:
            if parameter in self._known:
                self._state[parameter] = dict(self._known[parameter])
            else:
                self._state.pop(parameter, None)
        self._tensors.put_back()


class RandomSnapshot:
    """The states of torch's generators: the host's, and that of a CUDA device.

    Args:
        device: Where the networks are.
    """

    def __init__(self, device: torch.device) -> None:
        self._host = torch.get_rng_state()
        self._device = device if device.type == "cuda" else None
        self._cuda = torch.cuda.get_rng_state(device) if self._device is not None else None

    def put_back(self) -> None:
        """Go on from where the generators were."""
        torch.set_rng_state(self._host)
        if self._device is not None and self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
