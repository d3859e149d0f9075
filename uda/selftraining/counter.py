"""A count that is saved with a run and read without waiting for the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Counter(nn.Module):
    """Counts iterations; the count is a buffer, and known on the host as well.

    A term counts in `begin`, so that virtual steps of a look-ahead do not count.

    >>> counter = Counter()
    >>> counter.count()
    >>> counter.value
    1
    """

    iteration: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))
        self._value: int | None = 0

    @property
    def value(self) -> int:
        """How often `count` was called, a restart not counted as one."""
        if self._value is None:
            self._value = int(self.iteration)
        return self._value

    def count(self) -> None:
        """Count one more."""
        self._value = self.value + 1
        self.iteration += 1

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._value = None  # read from the buffer when it is next needed
