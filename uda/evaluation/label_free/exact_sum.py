"""Sums of float64 numbers whose order and splitting change no bit, for several processes."""

from __future__ import annotations

import torch
from torch import Tensor

# Fractions are counted in units of 2**-40: the sum of 2**23 of them fits into an int64.
_UNITS = 2.0**40


def as_counts(values: Tensor) -> Tensor:
    """Numbers as two integers, whole part and fraction, so that sums of them are exact.

    The sum of float64 numbers depends on their order in the last bits. A sum over images would then
    depend on how many processes share them. Integers have no order. The fraction is rounded to
    2**-40, less than the rounding error of a float64 above 4096.

    Args:
        values: (...) float, finite, below 2**62 in absolute value.

    Returns:
        (..., 2) int64. Add up to eight million of them, and read the sum with `from_counts`.

    >>> one, two = as_counts(torch.tensor(0.75)), as_counts(torch.tensor(1.5))
    >>> one.tolist(), float(from_counts(one + two))
    ([0, 824633720832], 2.25)
    """
    values = values.double()
    whole = values.floor()
    return torch.stack((whole, ((values - whole) * _UNITS).round()), -1).long()


def from_counts(counts: Tensor) -> Tensor:
    """The sum as (...) float64, of counts (..., 2) int64 from `as_counts`."""
    return counts[..., 0].double() + counts[..., 1].double() / _UNITS
