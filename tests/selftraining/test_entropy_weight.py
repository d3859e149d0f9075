"""Weights from entropy: by hand, their mean, the edges."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.selftraining import EntropyWeight


def test_entropy_weight_values() -> None:
    """Four classes: one-hot (v = 1), two alike (H = log 2 = half of log 4, v = 1/2), uniform (0).

    Confident, power 2: squares 1, 1/4, 0, mean 5/12: weights 12/5, 3/5, 0. Uncertain, power 1:
    values 0, 1/2, 1, mean 1/2: weights 0, 1, 2.
    """
    probs = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4]).T.view(1, 4, 1, 3)
    confident = EntropyWeight(power=2.0)(probs).weight.flatten().tolist()
    assert confident == pytest.approx([2.4, 0.6, 0], abs=1e-6)
    uncertain = EntropyWeight(direction="uncertain")(probs).weight.flatten().tolist()
    assert uncertain == pytest.approx([0, 1, 2], abs=1e-6)


@settings(deadline=None)
@given(
    seed=st.integers(0, 100),
    power=st.floats(0, 4),
    direction=st.sampled_from(["confident", "uncertain"]),
)
def test_entropy_weight_properties(seed: int, power: float, direction: str) -> None:
    """The mean over trusted pixels is 1, at power 0 every weight is."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).softmax(1)
    valid = torch.rand(2, 4, 5, generator=generator) > 0.3
    selector = EntropyWeight(direction=direction, power=power)  # type: ignore[arg-type]
    weight = selector(probs, valid).weight
    assert weight[valid].mean().item() == pytest.approx(1)
    assert weight[~valid].abs().sum() == 0
    if power == 0:
        assert (weight[valid] == 1).all()


def test_all_alike_values() -> None:
    """Where no pixel has any confidence, all weigh 0 rather than NaN; none trusted: 0 as well."""
    uniform = torch.full((1, 2, 1, 3), 0.5)
    assert EntropyWeight()(uniform).weight.flatten().tolist() == [0, 0, 0]
    nothing = EntropyWeight()(uniform, torch.zeros(1, 1, 3, dtype=torch.bool))
    assert nothing.weight.flatten().tolist() == [0, 0, 0]


def test_entropy_weight_errors() -> None:
    """An unknown direction and a negative power."""
    with pytest.raises(ValueError, match='direction has to be "confident" or "uncertain", not'):
        EntropyWeight(direction="up")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"power has to be at least 0, not -0.5"):
        EntropyWeight(power=-0.5)
