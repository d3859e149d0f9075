"""Stored loss curves: the same numbers as when they were written."""

from __future__ import annotations

import pytest

from .make_golden import ITERATIONS, METHODS, loss_curve, read


@pytest.mark.parametrize("name", METHODS)
def test_loss_curve_golden(name: str) -> None:
    """Every scalar of every iteration, up to what another processor rounds differently."""
    wanted, found = read(name), loss_curve(name)
    assert len(wanted) == ITERATIONS
    for iteration, (old, new) in enumerate(zip(wanted, found, strict=True)):
        assert new == pytest.approx(old, rel=1e-6, abs=1e-12), f"iteration {iteration}"
    # The runs learn something; a curve of constants would prove nothing.
    name = "source/ce" if "source/ce" in found[0] else "target/ce"
    assert found[-1][name] < 0.9 * found[0][name]
