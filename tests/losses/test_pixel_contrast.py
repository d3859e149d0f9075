"""The supervised contrast of pixels: by hand, against loops, lonely anchors, gradients."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.fuzz.bounded import bounded
from uda.losses import pixel_contrast


def example(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features (8, 4) in float64, labels, and which count."""
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(8, 4, generator=generator, dtype=torch.float64), dim=1)
    label = torch.randint(3, (8,), generator=generator)
    return features, label, torch.rand(8, generator=generator) < 0.8


def slow(features: Tensor, label: Tensor, counted: Tensor, temperature: float) -> float:
    """The formula in plain loops."""
    kept = [i for i in range(len(label)) if counted[i]]
    losses = []
    for i in kept:
        near = {j: math.exp((features[i] @ features[j]).item() / temperature) for j in kept}
        negatives = sum(near[j] for j in kept if label[j] != label[i])
        positives = [near[j] for j in kept if j != i and label[j] == label[i]]
        if positives:
            losses.append(sum(-math.log(p / (p + negatives)) for p in positives) / len(positives))
    return temperature / 0.07 * sum(losses) / max(len(losses), 1)


def test_pixel_values() -> None:
    """Two anchors (1, 0) of one label, one (0, 1) of another, T = T_0 = 1.

    Each of the first has a positive at e and a negative at 1: log(1 + 1/e). The third is the only
    one of its label and does not count; nor does a fourth that is not counted.
    """
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -9.0]])
    label, counted = torch.tensor([0, 0, 1, 0]), torch.tensor([True, True, True, False])
    loss = pixel_contrast(features, label, counted, temperature=1.0, base_temperature=1.0)
    assert loss.item() == pytest.approx(math.log(1 + 1 / math.e))
    twice = pixel_contrast(features, label, counted, temperature=1.0, base_temperature=0.5)
    assert twice.item() == pytest.approx(2 * loss.item())


@bounded(40)
@given(seed=st.integers(0, 2**31), temperature=st.sampled_from([0.1, 1.0]))
def test_pixel_parity(seed: int, temperature: float) -> None:
    """It is the formula in plain loops, with finite gradients, none where nothing is counted."""
    features, label, counted = example(seed)
    features.requires_grad_()
    loss = pixel_contrast(features, label, counted, temperature=temperature)
    assert loss.item() == pytest.approx(slow(features, label, counted, temperature))
    (gradient,) = torch.autograd.grad(loss, features)
    assert gradient.isfinite().all()
    assert (gradient[~counted] == 0).all()


def test_pixel_grad() -> None:
    """The gradient is right in float64."""
    features, label, counted = example(1)
    features.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: pixel_contrast(z, label, counted), (features,))


def test_no_pairs() -> None:
    """No positive anywhere, nothing counted, or no anchor: 0 with zero gradient; one class: 0."""
    features, _, counted = example()
    everyone = torch.ones_like(counted)
    for z, y, c in (
        (features, torch.arange(8), everyone),
        (features, torch.zeros(8, dtype=torch.int64), torch.zeros_like(counted)),
        (features[:0], torch.arange(0), everyone[:0]),
        (features, torch.zeros(8, dtype=torch.int64), everyone),
    ):
        leaf = z.clone().requires_grad_()
        loss = pixel_contrast(leaf, y, c)
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.item() == 0
        assert (gradient == 0).all()
