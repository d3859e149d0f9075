"""Scalars of the log: means over the interval."""

from __future__ import annotations

import pytest
import torch

from uda.engine.log import DeviceScalars


def test_device_scalars_values() -> None:
    """The mean of 1 and 4, of 3 alone; after that nothing."""
    scalars = DeviceScalars()
    scalars.add({"loss": torch.tensor(1.0, requires_grad=True)})
    scalars.add({"loss": torch.tensor(4.0), "rare": torch.tensor(3)})
    assert scalars.pop() == {"loss": 2.5, "rare": 3.0}
    assert scalars.pop() == {}


def test_device_scalars_precision_properties() -> None:
    """Sums are float64: the mean of many equal float32 numbers is that number."""
    scalars = DeviceScalars()
    value = torch.tensor(0.1)
    for _ in range(1000):
        scalars.add({"loss": value})
    assert scalars.pop()["loss"] == pytest.approx(value.item(), rel=1e-12)


def test_device_scalars_reads_nothing_properties() -> None:
    """Adding reads nothing: it works on tensors without values; only `pop` fails on them."""
    scalars = DeviceScalars()
    for _ in range(2):
        scalars.add({"loss": torch.zeros((), device="meta")})
    with pytest.raises((RuntimeError, NotImplementedError)):
        scalars.pop()
