"""Reliability bins and the expected calibration error, by hand and by an independent loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from uda.evaluation.calibration import expected_calibration_error, reliability_bins

PIXELS = arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1))


def test_reliability_bins_values() -> None:
    """Four bins; 0.5 and 0.25 lie on borders and belong to the lower bin, 0 to the first."""
    confidence = torch.tensor([[0.5, 0.25], [0.0, 1.0]])
    correct = torch.tensor([[True, False], [True, True]])
    bins = reliability_bins(confidence, correct, 4)
    assert bins.tolist() == [[2, 1, 0, 1], [0.25, 0.5, 0, 1], [1, 1, 0, 1]]
    # (|1 - 0.25| + |1 - 0.5| + 0 + 0) / 4
    assert expected_calibration_error(bins) == pytest.approx(0.3125)


def test_a_perfect_network_has_no_error() -> None:
    """Sure and right; and one that is right in seven of ten cases of 0.7."""
    sure = reliability_bins(torch.ones(5), torch.ones(5, dtype=torch.bool))
    assert expected_calibration_error(sure) == 0
    seven = torch.arange(10) < 7
    fair = reliability_bins(torch.full((10,), 0.7, dtype=torch.float64), seven)
    assert expected_calibration_error(fair) == pytest.approx(0, abs=1e-12)
    assert math.isnan(expected_calibration_error(torch.zeros(3, 15)))


@given(confidence=PIXELS, seed=st.integers(0, 9), bins=st.integers(1, 20))
def test_calibration_properties(confidence: np.ndarray, seed: int, bins: int) -> None:
    """Parts add up to the whole; the error lies in [0, 1] and is that of a slow loop."""
    correct = np.random.default_rng(seed).random(len(confidence)) < confidence
    sure, right = torch.from_numpy(confidence), torch.from_numpy(correct)
    whole = reliability_bins(sure, right, bins)
    half = len(confidence) // 2
    parts = reliability_bins(sure[:half], right[:half], bins)
    parts = parts + reliability_bins(sure[half:], right[half:], bins)
    assert torch.allclose(parts, whole)
    assert whole[0].sum() == len(confidence)
    error = expected_calibration_error(whole)
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        # As the function does: the product is rounded, not the border.
        place = np.clip(np.ceil(confidence * bins) - 1, 0, bins - 1)
        inside = place == number
        assert (confidence[inside] >= low - 1e-9).all()
        assert (confidence[inside] <= high + 1e-9).all()
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    assert error == pytest.approx(total, abs=1e-9)
    assert 0 <= error <= 1


def test_reliability_bins_errors() -> None:
    with pytest.raises(ValueError, match=r"same shape, got \(2,\) and \(3,\)"):
        reliability_bins(torch.rand(2), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        reliability_bins(torch.rand(2), torch.ones(2, dtype=torch.bool), 0)
