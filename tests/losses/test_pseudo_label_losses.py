"""Generalised, soft and symmetric cross-entropy: hand values, limits, gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.losses import (
    entropy_map,
    generalised_cross_entropy,
    soft_cross_entropy,
    symmetric_cross_entropy,
)


def test_generalised_cross_entropy_values() -> None:
    """p = 1/4: q = 1 gives 3/4, q = 1/2 gives (1 - 1/2) * 2 = 1, q = 0 gives log 4."""
    logits = torch.tensor([[0.0, math.log(3)]]).view(1, 2, 1, 1)
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    for q, wanted in ((1.0, 0.75), (0.5, 1.0), (0.0, math.log(4))):
        loss = generalised_cross_entropy(logits, label, q=q)
        torch.testing.assert_close(loss, torch.full((1, 1, 1), wanted))


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 1000), st.floats(0.1, 100))
def test_generalised_cross_entropy_properties(q: float, seed: int, scale: float) -> None:
    """It is never above cross-entropy, at least 0, at most 1/q, and finite for certain errors."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(4, 3, generator=generator, dtype=torch.float64)
    label = torch.randint(3, (4,), generator=generator)
    loss = generalised_cross_entropy(logits, label, q=q)
    reference = F.cross_entropy(logits, label, reduction="none")
    assert (loss <= reference + 1e-9).all()
    assert loss.min() >= 0
    if q > 0.01:
        assert loss.max() <= 1 / q + 1e-9
    small = generalised_cross_entropy(logits, label, q=1e-9)
    torch.testing.assert_close(small, reference, atol=1e-4, rtol=1e-4)


def test_generalised_cross_entropy_errors() -> None:
    """A q out of range."""
    with pytest.raises(ValueError, match=r"q has to lie in \[0, 1\]"):
        generalised_cross_entropy(torch.zeros(1, 2), torch.zeros(1, dtype=torch.long), q=1.5)


def test_soft_cross_entropy_values() -> None:
    """Targets (1/4, 3/4) on equal logits: log 2; a one-hot target is plain cross-entropy."""
    logits = torch.zeros(1, 2, 1, 1)
    target = torch.tensor([0.25, 0.75]).view(1, 2, 1, 1)
    torch.testing.assert_close(soft_cross_entropy(logits, target).item(), math.log(2))
    logits = torch.randn(5, 3)
    label = torch.tensor([0, 1, 2, 1, 0])
    one_hot = F.one_hot(label, 3).float()
    torch.testing.assert_close(
        soft_cross_entropy(logits, one_hot), F.cross_entropy(logits, label, reduction="none")
    )


def test_own_prediction_has_no_gradient() -> None:
    """With the detached prediction itself as target the gradient is p - p = 0."""
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    loss = soft_cross_entropy(logits, logits.detach().softmax(1)).sum()
    torch.testing.assert_close(loss, entropy_map(logits).sum())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() < 1e-15


def test_symmetric_cross_entropy_values() -> None:
    """Both halves, and the entropy where both agree."""
    logits, target = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2)
    halves = (
        soft_cross_entropy(logits, target.softmax(1)),
        soft_cross_entropy(target, logits.softmax(1)),
    )
    wanted = 0.5 * halves[0] + 0.5 * halves[1]
    torch.testing.assert_close(symmetric_cross_entropy(logits, target), wanted)
    torch.testing.assert_close(symmetric_cross_entropy(target, logits), wanted)
    torch.testing.assert_close(symmetric_cross_entropy(logits, logits), entropy_map(logits))


def test_grad() -> None:
    """gradcheck in float64, also at q = 0 and with certain targets."""
    logits = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    label, target = torch.tensor([0, 2]), torch.eye(3, dtype=torch.float64)[:2]
    for q in (0.0, 0.8, 1.0):
        assert torch.autograd.gradcheck(
            lambda x, q=q: generalised_cross_entropy(x, label, q=q), (logits,)
        )
    assert torch.autograd.gradcheck(lambda x: soft_cross_entropy(x, target), (logits,))
    assert torch.autograd.gradcheck(lambda x: symmetric_cross_entropy(x, target), (logits,))
