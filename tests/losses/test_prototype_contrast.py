"""ProtoCL, DistCL and their regulariser: by hand, limits, unseen classes, gradients."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.fuzz.bounded import bounded
from uda.losses import prototype_contrast, prototype_evenness

SEEDS = st.integers(0, 2**31)


def example(seed: int = 0, pixels: int = 7, classes: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features (P, 4) in float64, labels with an ignored one, and means."""
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(pixels, 4, generator=generator, dtype=torch.float64), dim=1)
    label = torch.randint(classes, (pixels,), generator=generator)
    label[0] = 255
    means = torch.randn(classes, 4, generator=generator, dtype=torch.float64)
    return features, label, means


def test_prototype_values() -> None:
    """z = (1, 0) of class 1, prototypes (2, 0), (0, 3), T = 2: logits (1, 0), loss log(1 + e).

    A second pixel is ignored, and does not count.
    """
    features = torch.tensor([[1.0, 0.0], [5.0, 5.0]])
    means = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    loss = prototype_contrast(features, torch.tensor([1, 255]), means, temperature=2.0)
    assert loss.item() == pytest.approx(math.log(1 + math.e))


def test_distribution_values() -> None:
    """As above with variances (4, 0) and (8, 0): z^2 s / (2 T) = (1, 2), logits (2 + 1, 0 + 2) / 2.

    Loss: log(1 + e^(1.5 - 1)) for class 1, and z^2 s_1 / (2 T^2) = 8 / 8 on top.
    """
    features = torch.tensor([[1.0, 0.0]])
    means = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    variances = torch.tensor([[4.0, 0.0], [8.0, 0.0]])
    loss = prototype_contrast(features, torch.tensor([1]), means, variances, temperature=2.0)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(0.5)) + 1)


def test_no_variance_parity() -> None:
    """With variances of 0 DistCL is ProtoCL."""
    features, label, means = example()
    zero = torch.zeros_like(means)
    torch.testing.assert_close(
        prototype_contrast(features, label, means, zero),
        prototype_contrast(features, label, means),
    )


def test_distribution_bounds_samples() -> None:
    """DistCL bounds the contrast with samples of the Gaussians from above.

    The bound is Jensen's: it holds for the expectation of the sampled loss, up to its noise.
    """
    features, label, means = example(1)
    generator = torch.Generator().manual_seed(0)
    variances = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    bound = prototype_contrast(features, label, means, variances, temperature=1.0)
    draws = torch.randn(4000, 3, 4, generator=generator, dtype=torch.float64)
    samples = means + variances.sqrt() * draws
    counted = label != 255
    own = (features[counted].unsqueeze(0) * samples[:, label[counted]]).sum(-1)
    expected = (means.unsqueeze(0) @ features[counted].T)[0]
    spread = 0.5 * features[counted].square() @ variances.T
    sampled = (expected.T + spread).logsumexp(1) - own.mean(0)
    assert bound.item() >= sampled.mean().item() - 0.05


def test_unseen_values() -> None:
    """A class without prototype is in no sum and its pixels do not count; with `None` all are.

    z = (1, 0) of class 0, prototypes (1, 0), (0, 0), and an unseen one of 0: log(1 + 1/e) without
    it, log(1 + 2/e) with it. A pixel of the unseen class changes the first in nothing.
    """
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    means = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    seen = torch.tensor([True, True, False])
    loss = partial(prototype_contrast, features, means=means, temperature=1.0)
    found = loss(label=torch.tensor([0, 2]), seen=seen)
    assert found.item() == pytest.approx(math.log(1 + 1 / math.e))
    assert loss(label=torch.tensor([0, 255])).item() == pytest.approx(math.log(1 + 2 / math.e))


def test_evenness_values() -> None:
    """z̄ = (1, 0), prototypes (1, 0) and (0, 0), T = 1: p = (e, 1) / (1 + e).

    (log p_0 + log p_1) / (2 log 2). Equally near is -1, the greatest value; the mean of two
    opposite pixels is equally near to opposite prototypes. A single class gives 0.
    """
    features, label = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    means = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    wanted = (1 - 2 * math.log(1 + math.e)) / (2 * math.log(2))
    found = prototype_evenness(features, label, means, temperature=1.0)
    assert found.item() == pytest.approx(wanted)
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    found = prototype_evenness(opposite, label, opposite, temperature=1.0)
    assert found.item() == pytest.approx(-1)
    alone = torch.tensor([True, False])
    assert prototype_evenness(features, label, means, seen=alone).item() == 0


def test_evenness_sign() -> None:
    """On the way that adding the regulariser takes (reference) the mean leans, subtracting evens.

    The toy case: one pixel between two prototypes, nearer to the first.
    """
    means, label = torch.eye(2), torch.tensor([0])
    for sign, grows in ((1.0, True), (-1.0, False)):
        pixel = torch.tensor([[0.6, 0.4]], requires_grad=True)
        (sign * prototype_evenness(pixel, label, means, temperature=1.0)).backward()
        assert pixel.grad is not None
        moved = (pixel - 0.1 * pixel.grad).detach()[0]
        assert (moved[0] - moved[1] > 0.2) == grows


def test_nothing_counts() -> None:
    """Ignored pixels alone, or none at all: 0 with zero gradient."""
    for pixels in (3, 0):
        features = torch.randn(pixels, 2, requires_grad=True)
        label = torch.full((pixels,), 255)
        means, variances = torch.randn(2, 2), torch.ones(2, 2)
        for loss in (
            prototype_contrast(features, label, means, variances),
            prototype_evenness(features, label, means),
            prototype_contrast(features, label, means, seen=torch.zeros(2, dtype=torch.bool)),
        ):
            (gradient,) = torch.autograd.grad(loss, features)
            assert loss.item() == 0
            assert (gradient == 0).all()


def test_prototype_grad() -> None:
    """The gradients are right in float64; none reaches an ignored pixel."""
    features, label, means = example()
    features.requires_grad_()
    variances = torch.rand_like(means)
    seen = torch.tensor([True, False, True])
    for loss in (
        lambda z: prototype_contrast(z, label, means, variances, temperature=2.0),
        lambda z: prototype_contrast(z, label, means, seen=seen, temperature=2.0),
        lambda z: prototype_evenness(z, label, means, temperature=0.5),
    ):
        assert torch.autograd.gradcheck(loss, (features,))
        (gradient,) = torch.autograd.grad(loss(features), features)
        assert (gradient[0] == 0).all()
        assert gradient[1:].abs().max() > 0


@bounded(60)
@given(
    seed=SEEDS,
    scale=st.sampled_from([0.0, 1e-20, 1.0, 1e3]),
    temperature=st.sampled_from([0.01, 1.0, 100.0]),
    seen=st.one_of(st.none(), st.lists(st.booleans(), min_size=3, max_size=3)),
)
def test_prototype_properties(
    seed: int, scale: float, temperature: float, seen: list[bool] | None
) -> None:
    """Finite with finite gradients for any input; at least 0; the evenness is at most 0."""
    features, label, means = example(seed)
    means = means.float()
    features = (scale * features.float()).requires_grad_()
    kept = None if seen is None else torch.tensor(seen)
    loss = prototype_contrast(
        features, label, means, means.square(), seen=kept, temperature=temperature
    )
    even = prototype_evenness(features, label, means, seen=kept, temperature=temperature)
    (gradient,) = torch.autograd.grad(loss + even, features)
    assert gradient.isfinite().all()
    assert loss.item() >= 0
    assert even.item() <= 0
