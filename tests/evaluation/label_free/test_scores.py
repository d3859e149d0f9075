"""Scores without labels: hand values, ranges, invariances, and what the extremes get."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.evaluation.label_free import (
    SCORES,
    PredictionSums,
    agreement_scores,
    label_free_scores,
    prediction_sums,
    soft_neighbourhood_density,
)

CERTAIN = 500.0  # a difference of logits at which the softmax is exactly one-hot


def scores(logits: Tensor) -> dict[str, float]:
    """Scores of one image's logits (K, H, W)."""
    return label_free_scores(prediction_sums(logits, 0))


def one_hot(classes: list[int], number: int) -> Tensor:
    """Logits (K, 1, N) that are certain of these classes."""
    return CERTAIN * torch.nn.functional.one_hot(torch.tensor([classes]), number).movedim(-1, 0)


def test_scores_values() -> None:
    """Two pixels, (1/4, 3/4) and (1, 0), worked by hand.

    Mean entropy (log 4 - 3/4 log 3) / 2. Mean prediction (5/8, 3/8) with entropy
    5/8 log 8/5 + 3/8 log 8/3. A^T A = ((17/16, 3/16), (3/16, 9/16)) has trace 13/8 and determinant
    9/16, so that the sum of the roots of its eigenvalues is sqrt(13/8 + 2 * 3/4) = sqrt(25/8); it
    is divided by sqrt(2 * 2).
    """
    found = scores(torch.tensor([[[0.0, CERTAIN]], [[math.log(3), -CERTAIN]]]))
    entropy = (math.log(4) - 0.75 * math.log(3)) / 2
    of_mean = 5 / 8 * math.log(8 / 5) + 3 / 8 * math.log(8 / 3)
    assert found["entropy"] == pytest.approx(entropy, abs=1e-6)
    assert found["information"] == pytest.approx(of_mean - entropy, abs=1e-6)
    assert found["nuclear_norm"] == pytest.approx(math.sqrt(25 / 8) / 2, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 5, 19])
def test_scores_of_uniform_predictions(classes: int) -> None:
    """No preference: entropy log K, information 0, nuclear norm 1/K, density log(N - 1)."""
    found = scores(torch.zeros(classes, 4, 8))
    assert found["entropy"] == pytest.approx(math.log(classes), abs=1e-6)
    assert found["information"] == pytest.approx(0, abs=1e-6)
    assert found["nuclear_norm"] == pytest.approx(1 / classes, abs=1e-5)
    assert found["neighbourhood_density"] == pytest.approx(math.log(31))


@pytest.mark.parametrize("classes", [2, 5, 19])
def test_scores_of_a_collapse(classes: int) -> None:
    """All pixels certain of one class: entropy and density are at their best, the others are not.

    Entropy 0, density log(N - 1), information 0, nuclear norm 1 / sqrt(K).
    """
    found = scores(one_hot([1] * 32, classes))
    assert found["entropy"] == 0
    assert found["neighbourhood_density"] == pytest.approx(math.log(31))
    assert found["information"] == 0
    assert found["nuclear_norm"] == pytest.approx(1 / math.sqrt(classes))


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_of_certain_and_balanced_predictions(classes: int) -> None:
    """Entropy 0, information log K, nuclear norm 1; the density by hand.

    With n = N / K pixels a class, a pixel has n - 1 neighbours of similarity 1 and N - n of 0:
    weights e^20 and 1 before they are divided by their sum.
    """
    count = 8
    found = scores(one_hot([k for k in range(classes) for _ in range(count)], classes))
    assert found["entropy"] == 0
    assert found["information"] == pytest.approx(math.log(classes))
    assert found["nuclear_norm"] == pytest.approx(1)
    near, far = count - 1, (classes - 1) * count
    total = near * math.exp(20) + far
    p, q = math.exp(20) / total, 1 / total
    wanted = -near * p * math.log(p) - far * q * math.log(q)
    assert found["neighbourhood_density"] == pytest.approx(wanted)


@settings(deadline=None)
@given(
    st.integers(2, 9), st.integers(2, 40), st.integers(0, 1000), st.floats(0.01, 200), st.randoms()
)
def test_scores_properties(
    classes: int, pixels: int, seed: int, scale: float, random: object
) -> None:
    """Each lies in its range, and the order of classes and of pixels changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(classes, 1, pixels, generator=generator)
    found = scores(logits)
    assert 0 <= found["entropy"] <= math.log(classes)
    assert 0 <= found["information"] <= math.log(classes)
    assert 0 <= found["neighbourhood_density"] <= math.log(pixels - 1) + 1e-9
    assert 1 / (classes * math.sqrt(pixels)) < found["nuclear_norm"] <= 1
    order, places = list(range(classes)), list(range(pixels))
    random.shuffle(order)
    random.shuffle(places)
    turned = scores(logits[order][:, :, places])
    assert turned == pytest.approx(found, abs=1e-5)


def test_nuclear_norm_parity() -> None:
    """The sum of the singular values of the whole matrix, over sqrt(N min(N, K))."""
    logits = torch.randn(5, 20, 30, generator=torch.Generator().manual_seed(0))
    matrix = logits.double().softmax(0).flatten(1)
    wanted = float(torch.linalg.matrix_norm(matrix, "nuc")) / math.sqrt(600 * 5)
    assert scores(logits)["nuclear_norm"] == pytest.approx(wanted, abs=1e-7)
    few = logits[:, :1, :3]  # fewer pixels than classes
    matrix = few.double().softmax(0).flatten(1)
    wanted = float(torch.linalg.matrix_norm(matrix, "nuc")) / 3
    # Eigenvalues that are 0 are known to 1e-12, their roots to 1e-6.
    assert scores(few)["nuclear_norm"] == pytest.approx(wanted, abs=1e-5)


def test_soft_neighbourhood_density_values() -> None:
    """Three pixels at 0, 0 and 90 degrees, T = 1.

    The first has neighbours of similarity 1 and 0: weights e and 1. The third has two of 0: log 2.
    With itself, the first has e, e, 1 and the third e, 1, 1.
    """
    probs = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])

    def entropy(*weights: float) -> float:
        return sum(-w / sum(weights) * math.log(w / sum(weights)) for w in weights)

    wanted = (2 * entropy(math.e, 1) + math.log(2)) / 3
    found = soft_neighbourhood_density(probs, temperature=1)
    assert found.item() == pytest.approx(wanted)
    wanted = (2 * entropy(math.e, math.e, 1) + entropy(math.e, 1, 1)) / 3
    found = soft_neighbourhood_density(probs, temperature=1, include_self=True)
    assert found.item() == pytest.approx(wanted)
    assert soft_neighbourhood_density(probs[:1]).item() == 0


def test_soft_neighbourhood_density_in_blocks_parity() -> None:
    """More pixels than a block: equal to the definition written out over the whole matrix."""
    probs = torch.randn(1500, 4, generator=torch.Generator().manual_seed(1)).softmax(1)
    features = torch.nn.functional.normalize(probs.double(), dim=1)
    weights = (features @ features.T / 0.05).exp().fill_diagonal_(0)
    weights /= weights.sum(1, keepdim=True)
    wanted = torch.special.entr(weights).sum(1).mean()
    torch.testing.assert_close(soft_neighbourhood_density(probs), wanted)


def test_soft_neighbourhood_density_error() -> None:
    with pytest.raises(ValueError, match="temperature has to be above 0, not 0"):
        soft_neighbourhood_density(torch.ones(2, 2), temperature=0)


def test_agreement_scores_values() -> None:
    """Of 10 pixels 7 agree: 70 %. IoU of class 0 is 6/9, of class 1 1/4, of class 2 none."""
    found = agreement_scores(torch.tensor([[6, 1, 0], [2, 1, 0], [0, 0, 0]]))
    assert found["agreement"] == pytest.approx(70)
    assert found["agreement_mIoU"] == pytest.approx(100 * (6 / 9 + 1 / 4) / 2)


def test_scores_without_an_image() -> None:
    """Nothing was seen: no number."""
    assert all(math.isnan(v) for v in label_free_scores(PredictionSums.zero(3)).values())


def test_scores_are_described() -> None:
    """Every score that is computed has its direction and its source in the table."""
    computed = {**scores(torch.zeros(2, 1, 2)), **agreement_scores(torch.ones(2, 2).long())}
    assert list(computed) == list(SCORES)
    assert all(score.source and score.meaning for score in SCORES.values())
