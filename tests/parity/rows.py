"""What every check returns, and how two arrays are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

# What was compared, the error that comes nearest to its limit (or exceeds it most), the limit.
Row = tuple[str, float, float]

# Every fixture's network input is made of bytes with these, in float32.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Arrays(Mapping[str, Any]):
    """All arrays of one file, read at once; a missing one is named in a sentence.

    Args:
        values: Arrays by name.
        origin: Name of the file.
    """

    def __init__(self, values: Mapping[str, Any], origin: str) -> None:
        self._values, self._origin = dict(values), origin

    @classmethod
    def read(cls, path: Path) -> Arrays:
        """The arrays of an `.npz` file."""
        with np.load(path, allow_pickle=False) as file:
            return cls({name: file[name] for name in file.files}, path.name)

    def __getitem__(self, name: str) -> Any:
        if name not in self._values:
            raise KeyError(f"{self._origin} has no array {name!r}, which this check needs")
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def filled(self, name: str) -> bool:
        """Whether the array is there and not empty."""
        return name in self._values and self._values[name].size > 0

    def number(self, name: str, default: float | None = None) -> float:
        """A scalar setting, or the default where the file leaves it out."""
        if default is not None and name not in self._values:
            return default
        return float(np.asarray(self[name]).item())

    def tensor(self, name: str) -> Tensor:
        """A copy of an array, float16 as float32."""
        value = torch.from_numpy(np.array(self[name]))
        return value.float() if value.dtype == torch.float16 else value

    def label(self, name: str) -> Tensor:
        """Class ids (N, H, W) int64 of (N, H, W) or (N, 1, H, W)."""
        value = self.tensor(name).long()
        return value.squeeze(1) if value.dim() == 4 else value

    def below(self, prefix: str) -> dict[str, Tensor]:
        """All arrays under a prefix, by the rest of their names."""
        return {
            name.removeprefix(prefix): self.tensor(name) for name in self if name.startswith(prefix)
        }


def compare(
    what: str, ours: Any, theirs: Any, *, absolute: float = 0.0, relative: float = 0.0
) -> Row:
    """The entry whose difference is largest in proportion to its limit.

    The limit is `absolute + relative * |theirs|`. Another shape, or a value that is not finite,
    counts as an infinite error.

    >>> compare("x", [1.0, 20.5], [1.0, 20.0], absolute=0.25, relative=0.05)
    ('x', 0.5, 1.25)
    """
    got, wanted = _doubles(ours), _doubles(theirs)
    if got.shape != wanted.shape:
        return f"{what} (shape {got.shape}, not {wanted.shape})", math.inf, absolute
    if got.size == 0:
        return f"{what} (empty)", math.inf, absolute
    error = np.abs(got - wanted).ravel()
    error[~np.isfinite(error)] = math.inf
    limit = absolute + relative * np.abs(np.nan_to_num(wanted)).ravel()
    # an exact comparison has limit 0: any error there is beyond every limit
    safe = np.where(limit > 0, limit, 1.0)
    ratio = np.where(limit > 0, error / safe, np.where(error > 0, math.inf, 0.0))
    worst = int(ratio.argmax())
    return what, float(error[worst]), float(limit[worst])


def differing(what: str, ours: Any, theirs: Any, *, allowed: int = 0) -> Row:
    """How many entries differ, and how many may.

    >>> differing("x", [1, 2, 3], [1, 2, 4])
    ('x', 1.0, 0.0)
    """
    got, wanted = _doubles(ours), _doubles(theirs)
    if got.shape != wanted.shape:
        return f"{what} (shape {got.shape}, not {wanted.shape})", math.inf, float(allowed)
    return what, float((got != wanted).sum()), float(allowed)


def severity(row: Row) -> float:
    """The error as a share of its limit; above 1 means failure.

    >>> severity(("x", 1.0, 4.0)), severity(("x", 0.0, 0.0)), severity(("x", 0.1, 0.0))
    (0.25, 0.0, inf)
    """
    _, error, limit = row
    if math.isnan(error):
        return math.inf
    if limit == 0:
        return 0.0 if error == 0 else math.inf
    return error / limit


def network_input(images: Tensor) -> Tensor:
    """Normalised images of bytes in RGB, both (N, 3, H, W)."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images.float() - mean) / std


def _doubles(value: Any) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    return np.asarray(value, dtype=np.float64)
