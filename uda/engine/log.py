"""Scalars that stay on the device until somebody looks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.dist import get_world_size
from torch import Tensor


class DeviceScalars:
    """Running means of named scalars; only `pop` waits for the device.

    Several processes add scalars of the same names, as they make the same passes.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Add one iteration's scalars, tensors without gradient."""
        for name, value in scalars.items():
            value = value.detach().double()
            if name in self._sums:
                value = value + self._sums[name].to(value.device)
            self._sums[name] = value
            self._counts[name] = self._counts.get(name, 0) + 1

    def average(self) -> None:
        """Replace each sum by its mean over the processes, in one exchange.

        Every process has to call it. After that the scalars of one process, the one that writes
        logs and checkpoints, are those of all.
        """
        if not self._sums or get_world_size() == 1:
            return
        flat = torch.stack(list(self._sums.values()))
        torch.distributed.all_reduce(flat)
        self._sums = dict(zip(self._sums, flat / get_world_size(), strict=True))

    def pop(self) -> dict[str, float]:
        """The mean of each scalar since the last call, fetched in one transfer."""
        if not self._sums:
            return {}
        values = torch.stack(list(self._sums.values())).tolist()
        means = {
            name: value / self._counts[name] for name, value in zip(self._sums, values, strict=True)
        }
        self._sums.clear()
        self._counts.clear()
        return means

    def state_dict(self) -> dict[str, tuple[Tensor, int]]:
        """Sum and number of values of each scalar since the last `pop`."""
        return {name: (value.cpu(), self._counts[name]) for name, value in self._sums.items()}

    def load_state_dict(self, state: Mapping[str, tuple[Tensor, int]]) -> None:
        """Go on with sums from `state_dict`; they move to the device of what is added next."""
        self._sums = {name: value for name, (value, _) in state.items()}
        self._counts = {name: count for name, (_, count) in state.items()}
