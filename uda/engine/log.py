"""Scalars that stay on the device until somebody looks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor


class DeviceScalars:
    """Running means of named scalars; only `pop` waits for the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Add one iteration's scalars, tensors without gradient."""
        for name, value in scalars.items():
            value = value.detach().double()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

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


def check_finite(means: Mapping[str, float], iteration: int, interval: int) -> None:
    """Raise if a logged mean is not a finite number.

    Raises:
        FloatingPointError: Names the scalars and the iterations.
    """
    bad = [name for name, value in means.items() if not math.isfinite(value)]
    if bad:
        raise FloatingPointError(
            f"{', '.join(bad)} became NaN or infinite in iterations "
            f"{iteration - interval + 1} to {iteration}. Lower the learning rate, or train with "
            "--amp off if half precision is on; the last checkpoint is untouched."
        )
