"""BankCL: by hand, against loops, empty places, gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.fuzz.bounded import bounded
from uda.losses import bank_contrast

SEEDS = st.integers(0, 2**31)
Example = tuple[Tensor, Tensor, Tensor, Tensor]


def example(seed: int = 0, share: float = 0.6) -> Example:
    """Unit features (9, 4) in float64, labels, of which one is ignored, a bank of 3 x 5 places."""
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(9, 4, generator=generator, dtype=torch.float64), dim=1)
    label = torch.randint(3, (9,), generator=generator)
    label[0] = 255
    bank = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    return features, label, bank, torch.rand(3, 5, generator=generator) < share


def slow(
    features: Tensor, label: Tensor, bank: Tensor, filled: Tensor, temperature: float
) -> float:
    """The formula in plain loops."""
    losses = []
    for z, y in zip(features.tolist(), label.tolist(), strict=True):
        if y == 255 or not filled[y].any():
            continue
        near = lambda b, z=z: sum(p * q for p, q in zip(z, b, strict=True)) / temperature  # noqa: E731
        others = 0.0
        for k in range(len(bank)):
            entries = bank[k][filled[k]].tolist()
            if k != y and entries:
                others += math.exp(sum(near(b) for b in entries) / len(entries))
        own = [math.exp(near(b)) for b in bank[y][filled[y]].tolist()]
        losses.append(sum(-math.log(e / (e + others)) for e in own) / len(own))
    return sum(losses) / max(len(losses), 1)


def test_bank_values() -> None:
    """z = (1, 0) of class 0; its entries (1, 0), (0, 1), the other's (2, 0), (0, 0), mean 1; T = 1.

    (-log(e / (e + e)) - log(1 / (1 + e))) / 2.
    """
    bank = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 0.0]]])
    filled = torch.ones(2, 2, dtype=torch.bool)
    loss = bank_contrast(
        torch.tensor([[1.0, 0.0]]), torch.tensor([0]), bank, filled, temperature=1.0
    )
    assert loss.item() == pytest.approx((math.log(2) + math.log(1 + math.e)) / 2)


@bounded(40)
@given(seed=SEEDS, share=st.sampled_from([0.0, 0.3, 1.0]), temperature=st.sampled_from([0.3, 10.0]))
def test_bank_parity(seed: int, share: float, temperature: float) -> None:
    """It is the formula in plain loops; finite gradients; what is not filled has no part."""
    features, label, bank, filled = example(seed, share)
    features.requires_grad_()
    bank[~filled] = 1e6
    loss = bank_contrast(features, label, bank, filled, temperature=temperature)
    assert loss.item() == pytest.approx(slow(features, label, bank, filled, temperature))
    (gradient,) = torch.autograd.grad(loss, features)
    assert gradient.isfinite().all()
    assert (gradient[0] == 0).all()


def test_bank_grad() -> None:
    """The gradient is right in float64."""
    features, label, bank, filled = example(3)
    features.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: bank_contrast(z, label, bank, filled, temperature=0.5), (features,)
    )


def test_empty_bank() -> None:
    """An empty bank, ignored pixels alone, or no pixel: 0 with zero gradient."""
    features, label, bank, filled = example()
    for z, y, f in (
        (features, label, torch.zeros_like(filled)),
        (features, torch.full_like(label, 255), filled),
        (features[:0], label[:0], filled),
    ):
        leaf = z.clone().requires_grad_()
        loss = bank_contrast(leaf, y, bank, f)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.item() == 0
        assert (gradient == 0).all()
