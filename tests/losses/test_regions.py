"""Losses on regions: by hand, empty regions, normalisations, gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.losses import (
    mean_entropy,
    region_consistency,
    region_entropy,
    region_mean,
    self_information,
    uniform_divergence,
)
from uda.losses.regions import Consistency, Normalisation

Loss = Callable[[Tensor, Tensor, Normalisation], Tensor]
NORMALISATIONS: tuple[Normalisation, ...] = ("pixels", "pixels_and_classes", "nonzero_terms")


def teacher(logits: Tensor) -> Tensor:
    """Probabilities of another network, some of them exactly 0."""
    return torch.softmax(logits.detach().flip(1) * 40, 1).round(decimals=3)


LOSSES: dict[str, Loss] = {
    "divergence_from_uniform": lambda z, m, n: uniform_divergence(z, m, normalisation=n),
    "entropy": lambda z, m, n: region_entropy(z, m, normalisation=n),
    **{
        kind: lambda z, m, n, kind=kind: region_consistency(  # type: ignore[misc]
            z, teacher(z), m, kind=kind, normalisation=n
        )
        for kind in ("cross_entropy", "squared", "divergence")
    },
}


def example(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (2, 3, 2, 3) in float64 with gradient, and a region."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 2, 3, dtype=torch.float64, generator=generator)
    mask = torch.rand(2, 2, 3, generator=generator) < 0.5
    mask[0, 0, 0], mask[1, 1, 1] = True, False
    return logits.requires_grad_(), mask


def test_two_classes_values() -> None:
    """p = (1/4, 3/4), t = (1, 0), one of two pixels in the region.

    Uniform: (log 4 + log 4/3) / 2. Entropy: log 4 - 3/4 log 3. Cross-entropy and divergence from
    t: log 4, and its only non-zero term is log 4. Squared: 2 * 9/16. With K = 2 each is halved by
    "pixels_and_classes".
    """
    logits = torch.tensor([[0.0, 5.0], [math.log(3), 1.0]], dtype=torch.float64).view(1, 2, 1, 2)
    target = torch.tensor([[1.0, 0.5], [0.0, 0.5]], dtype=torch.float64).view(1, 2, 1, 2)
    mask = torch.tensor([[[True, False]]])
    uniform = (math.log(4) + math.log(4 / 3)) / 2
    entropy = math.log(4) - 0.75 * math.log(3)
    for share, normalisation in ((1.0, "pixels"), (0.5, "pixels_and_classes")):
        n: Normalisation = normalisation  # type: ignore[assignment]
        found = uniform_divergence(logits, mask, normalisation=n)
        assert found.item() == pytest.approx(share * uniform)
        assert region_entropy(logits, mask, normalisation=n).item() == pytest.approx(
            share * entropy
        )
        for kind, wanted in (
            ("cross_entropy", math.log(4)),
            ("divergence", math.log(4)),
            ("squared", 9 / 8),
        ):
            found = region_consistency(logits, target, mask, kind=kind, normalisation=n)  # type: ignore[arg-type]
            assert found.item() == pytest.approx(share * wanted)
    nonzero = region_consistency(logits, target, mask, normalisation="nonzero_terms")
    assert nonzero.item() == pytest.approx(math.log(4))


def test_defaults_values() -> None:
    """Defaults are those of the released code."""
    logits, mask = example()
    for loss, reference in (
        (uniform_divergence(logits, mask), LOSSES["divergence_from_uniform"]),
        (region_entropy(logits, mask), LOSSES["entropy"]),
    ):
        torch.testing.assert_close(loss, reference(logits, mask, "pixels_and_classes"))
    torch.testing.assert_close(
        region_consistency(logits, teacher(logits), mask),
        LOSSES["cross_entropy"](logits, mask, "nonzero_terms"),
    )


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_empty_region_grad(name: str, normalisation: Normalisation) -> None:
    """A region without a pixel gives 0, and a gradient that is 0 and no NaN."""
    logits, mask = example()
    loss = LOSSES[name](logits, torch.zeros_like(mask), normalisation)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("name", LOSSES)
def test_region_grad(name: str) -> None:
    """gradcheck in float64 with a fixed teacher; outside of the region the gradient is 0."""
    logits, mask = example()
    target = teacher(logits)
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        "divergence_from_uniform": lambda z: uniform_divergence(z, mask),
        "entropy": lambda z: region_entropy(z, mask),
    }
    loss = losses.get(name, lambda z: region_consistency(z, target, mask, kind=name))  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(loss, (logits,))
    (gradient,) = torch.autograd.grad(loss(logits), logits)
    assert (gradient.abs().sum(1)[~mask] == 0).all()
    assert (gradient.abs().sum(1)[mask] > 0).all()


def test_formulas_grad() -> None:
    """The gradients written out: (p - 1/K) / (K N), and -p (log p + H) / (K N)."""
    logits, mask = example()
    probs = logits.detach().softmax(1)
    entropy = -(probs * probs.log()).sum(1, keepdim=True)
    entries = 3 * mask.sum()
    inside = mask.unsqueeze(1) / entries
    (found,) = torch.autograd.grad(uniform_divergence(logits, mask), logits)
    torch.testing.assert_close(found, (probs - 1 / 3) * inside)
    (found,) = torch.autograd.grad(region_entropy(logits, mask), logits)
    torch.testing.assert_close(found, -probs * (probs.log() + entropy) * inside)


@pytest.mark.parametrize("name", LOSSES)
def test_certain_predictions_grad(name: str) -> None:
    """Logits of +-1e4 give probabilities of 0 and 1: losses and gradients stay finite."""
    logits = torch.tensor([1e4, -1e4, 0.0]).view(1, 3, 1, 1).requires_grad_()
    loss = LOSSES[name](logits, torch.ones(1, 1, 1, dtype=torch.bool), "pixels")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 1000),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e4, 1e30]),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    certain=st.booleans(),
)
def test_any_probabilities_properties(seed: int, scale: float, share: float, certain: bool) -> None:
    """Losses and gradients are finite for every map, one-hot ones and empty regions included.

    `scale` makes the student's probabilities uniform, soft, or one-hot to the last bit; `certain`
    those of the teacher. A region without a pixel gives exactly 0, with zero gradient.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = (scale * torch.randn(2, 3, 2, 3, generator=generator)).requires_grad_()
    target = torch.randn(2, 3, 2, 3, generator=generator)
    target = (1e4 * target if certain else target).softmax(1)
    mask = torch.rand(2, 2, 3, generator=generator) < share
    for normalisation in NORMALISATIONS:
        losses = [
            uniform_divergence(logits, mask, normalisation=normalisation),
            region_entropy(logits, mask, normalisation=normalisation),
            *(
                region_consistency(logits, target, mask, kind=kind, normalisation=normalisation)
                for kind in get_args(Consistency)
            ),
        ]
        for loss in losses:
            (gradient,) = torch.autograd.grad(loss, logits)
            assert loss.isfinite()
            assert gradient.isfinite().all()
            if not mask.any():
                assert loss == 0
                assert not gradient.any()


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000))
def test_normalisation_properties(seed: int) -> None:
    """K times "pixels_and_classes" is "pixels"; `region_entropy` by pixels is `mean_entropy`."""
    logits, mask = example(seed)
    for loss in LOSSES.values():
        by_class = loss(logits, mask, "pixels_and_classes")
        torch.testing.assert_close(3 * by_class, loss(logits, mask, "pixels"))
        assert loss(logits, mask, "nonzero_terms") >= by_class
        assert by_class >= 0
    torch.testing.assert_close(
        region_entropy(logits, mask, normalisation="pixels"), mean_entropy(logits, mask)
    )


def test_consistency_gives_the_teacher_no_grad() -> None:
    """The target is a constant, also where it has a graph."""
    logits, mask = example()
    target = torch.zeros(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    loss = region_consistency(logits, target.softmax(1), mask)
    assert torch.autograd.grad(loss, target, allow_unused=True) == (None,)


def test_region_errors() -> None:
    """Unknown settings, and a mask that would broadcast over the batch, are refused."""
    logits, mask = example()
    with pytest.raises(ValueError, match="normalisation has to be .* not 'mean'"):
        region_mean(logits, mask, normalisation="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind has to be .* not 'hard'"):
        region_consistency(logits, logits, mask, kind="hard")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(2, 1, 2, 3\); it has to be \(2, 2, 3\)"):
        region_entropy(logits, mask.unsqueeze(1))


def test_self_information_values() -> None:
    """p = (1/4, 3/4): 1/4 log 4 / log 2 and 3/4 log(4/3) / log 2; certain: 0 and 0."""
    logits = torch.tensor([[0.0, 300.0], [math.log(3), -300.0]]).view(1, 2, 2)
    wanted = torch.tensor([[[0.5, 0.0], [0.75 * math.log2(4 / 3), 0.0]]])
    torch.testing.assert_close(self_information(logits), wanted)


def test_self_information_grad() -> None:
    """gradcheck in float64."""
    logits, _ = example()
    assert torch.autograd.gradcheck(self_information, (logits,))
