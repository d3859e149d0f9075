"""Entropy: bounds, hand values, gradients with extreme and masked predictions."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.losses import entropy_map, mean_entropy


def test_entropy_map_values() -> None:
    """Probabilities 1/4 and 3/4: `log(4)/4 + 3/4 log(4/3) = log 4 - 3/4 log 3`; certain: 0."""
    logits = torch.tensor([[[0.0, 200.0]], [[math.log(3), -200.0]]]).view(1, 2, 1, 2)
    entropy = entropy_map(logits)
    torch.testing.assert_close(entropy, torch.tensor([[[math.log(4) - 0.75 * math.log(3), 0.0]]]))


@settings(deadline=None)
@given(st.integers(2, 19), st.integers(0, 1000), st.floats(0.01, 300))
def test_entropy_map_properties(classes: int, seed: int, scale: float) -> None:
    """It lies in [0, log K], ignores an added constant, and is log K for equal logits."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(1, classes, 2, 3, generator=generator, dtype=torch.float64)
    entropy = entropy_map(logits)
    assert entropy.shape == (1, 2, 3)
    assert entropy.min() >= 0
    assert entropy.max() <= math.log(classes) + 1e-9
    torch.testing.assert_close(entropy_map(logits + 3), entropy)
    equal = entropy_map(torch.zeros(1, classes, dtype=torch.float64))
    torch.testing.assert_close(equal.item(), math.log(classes))


def test_entropy_grad() -> None:
    """gradcheck, with a mask, with an empty one, and a finite gradient at probability 0."""
    logits = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[[True, False], [True, True]]])
    assert torch.autograd.gradcheck(entropy_map, (logits,))
    assert torch.autograd.gradcheck(lambda x: mean_entropy(x, mask), (logits,))
    empty = mean_entropy(logits, torch.zeros_like(mask))
    (gradient,) = torch.autograd.grad(empty, logits)
    assert empty.item() == 0
    assert gradient.abs().max() == 0
    certain = torch.tensor([[1e4, -1e4]], requires_grad=True)
    (gradient,) = torch.autograd.grad(entropy_map(certain).sum(), certain)
    assert gradient.isfinite().all()


def test_mean_entropy_values() -> None:
    """Entropies log 2 and 0: mean log(2)/2, and log 2 where only the first is kept."""
    logits = torch.tensor([[[[0.0, 100.0]], [[0.0, -100.0]]]])
    assert mean_entropy(logits).item() == pytest.approx(math.log(2) / 2)
    mask = torch.tensor([[[True, False]]])
    assert mean_entropy(logits, mask).item() == pytest.approx(math.log(2))
