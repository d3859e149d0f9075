"""Selection by a percentile of the entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.selftraining import EntropyPercentile
from uda.selftraining.selectors.entropy_percentile import quantile_where


def probs_of(*confidence: float) -> Tensor:
    """Two-class probabilities (1, 2, 1, n) whose class 0 has the given confidences."""
    first = torch.tensor(confidence, dtype=torch.float64).view(1, 1, 1, -1)
    return torch.cat([first, 1 - first], 1)


def test_entropy_percentile_values() -> None:
    """Entropies rise from left to right. 50 % of three: the middle one is the percentile itself.

    Kept with "keep", dropped with "drop"; at 100 "drop" still drops the last, "keep" none.
    """
    probs = probs_of(0.95, 0.8, 0.6)
    wanted = {
        (50, "keep"): [0, 0, 255],
        (50, "drop"): [0, 255, 255],
        (100, "keep"): [0, 0, 0],
        (100, "drop"): [0, 0, 255],
    }
    for (percentile, boundary), label in wanted.items():
        pseudo = EntropyPercentile(percentile=percentile, boundary=boundary)(probs)  # type: ignore[arg-type]
        assert pseudo.label.flatten().tolist() == label
        assert pseudo.weight.flatten().tolist() == [float(i == 0) for i in label]


def test_rescale_values() -> None:
    """Two of four pixels kept, one of the four not trusted: weight 4 / 2."""
    valid = torch.tensor([[[True, True, True, False]]])
    pseudo = EntropyPercentile(percentile=50, rescale=True)(probs_of(0.9, 0.8, 0.6, 0.99), valid)
    assert pseudo.weight.flatten().tolist() == [2, 2, 0, 0]


def test_edges_values() -> None:
    """One-hot probabilities have entropy 0 and stay; without a trusted pixel nothing is kept."""
    selector = EntropyPercentile(percentile=10)
    assert selector(probs_of(1.0, 0.0, 1.0)).label.flatten().tolist() == [0, 1, 0]
    nothing = selector(probs_of(0.9, 0.7), torch.zeros(1, 1, 2, dtype=torch.bool))
    assert nothing.weight.abs().max() == 0
    assert nothing.label.flatten().tolist() == [255, 255]
    rescaled = EntropyPercentile(rescale=True)(probs_of(0.9), torch.zeros(1, 1, 1).bool())
    assert rescaled.weight.item() == 0


@settings(deadline=None)
@given(values=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12), share=st.floats(0, 1))
def test_quantile_parity(values: list[float], share: float) -> None:
    """NumPy's percentile of the marked values, whatever else there is."""
    given_values = torch.tensor([*values, 99.0, -99.0], dtype=torch.float64)
    mask = torch.tensor([True] * len(values) + [False, False])
    wanted = np.quantile(np.array(values, dtype=np.float64), share)
    found = quantile_where(given_values, mask, share).item()
    assert found == pytest.approx(wanted, rel=1e-12, abs=1e-12)


@settings(deadline=None)
@given(seed=st.integers(0, 50), low=st.integers(1, 99))
def test_entropy_percentile_properties(seed: int, low: int) -> None:
    """A higher percentile keeps at least as many pixels, about its share of them."""
    generator = torch.Generator().manual_seed(seed)
    probs = (2 * torch.randn(2, 4, 6, 5, generator=generator)).softmax(1)
    kept = [EntropyPercentile(percentile=p)(probs).weight.sum().item() for p in (low, low + 1)]
    assert kept[0] <= kept[1]
    assert abs(kept[0] - low / 100 * 60) <= 1


@pytest.mark.parametrize("percentile", [0, 101])
def test_percentile_errors(percentile: float) -> None:
    """A percentile that keeps nothing, or more than everything."""
    with pytest.raises(ValueError, match=r"percentile has to lie above 0 and at most 100, not"):
        EntropyPercentile(percentile=percentile)


def test_boundary_errors() -> None:
    """Neither kept nor dropped."""
    with pytest.raises(ValueError, match='boundary has to be "keep" or "drop", not \'half\''):
        EntropyPercentile(boundary="half")  # type: ignore[arg-type]
