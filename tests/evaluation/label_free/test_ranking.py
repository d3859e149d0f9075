"""Rank correlations by hand and against SciPy, and what a choice costs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.evaluation.label_free import kendall, rank_choices, ranks, spearman

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=12)


def test_correlations_values() -> None:
    """Orders 1 2 3 4 and 2 1 4 3.

    Spearman: 1 - 6 * 4 / (4 * 15) = 0.6. Kendall: 4 of 6 pairs in the same order, 2 in the reverse.
    """
    first, second = [1, 2, 3, 4], [2, 1, 4, 3]
    assert spearman(first, second) == pytest.approx(0.6)
    assert kendall(first, second) == pytest.approx(1 / 3)
    assert spearman(first, first[::-1]) == -1
    assert kendall(first, first[::-1]) == -1


def test_correlations_of_equal_values() -> None:
    """All equal: no order to compare. Some equal: by hand.

    (1, 1, 2) and (1, 2, 3): ranks 1.5 1.5 3, so Spearman is 1.5 / sqrt(1.5 * 2); of the 2 pairs
    that differ in the first, both agree, so Kendall is 2 / sqrt(2 * 3).
    """
    assert math.isnan(spearman([1, 1], [1, 2]))
    assert math.isnan(kendall([1, 2], [1, 1]))
    assert math.isnan(spearman([1], [1]))
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(3))
    assert kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(6))


@settings(deadline=None)
@given(PAIRS)
def test_correlations_properties(pairs: list[tuple[int, int]]) -> None:
    """Within [-1, 1], symmetric, turned by turning one, untouched by what keeps the order."""
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    for correlation in (spearman, kendall):
        found = correlation(first, second)
        if math.isnan(found):
            assert len(set(first)) == 1 or len(set(second)) == 1
            continue
        assert -1 <= found <= 1
        assert correlation(second, first) == pytest.approx(found)
        assert correlation([-a for a in first], second) == pytest.approx(-found)
        assert correlation([a**3 for a in first], second) == pytest.approx(found)


@settings(deadline=None)
@given(PAIRS)
def test_correlations_parity(pairs: list[tuple[int, int]]) -> None:
    """Those of SciPy, equal values among them."""
    stats = pytest.importorskip("scipy.stats")
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(first)) > 1 and len(set(second)) > 1:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
        assert kendall(first, second) == pytest.approx(stats.kendalltau(first, second).statistic)
    assert ranks(first) == stats.rankdata(first).tolist()


def test_rank_choices_values() -> None:
    """Lower is better: the last of the two lowest is chosen; the best truth is 4 points away."""
    choice = rank_choices([0.2, 0.1, 0.3, 0.1], "lower", truth=[50.0, 40.0, 44.0, 46.0])
    assert choice.chosen == 3
    assert choice.ranks == [3, 1.5, 4, 1.5]
    assert choice.regret == 4.0
    # Goodness and truth: ranks 2 3.5 1 3.5 and 4 1 2 3.
    product = -0.5 * 1.5 + 1 * -1.5 + -1.5 * -0.5 + 1 * 0.5
    assert choice.spearman == pytest.approx(product / math.sqrt(4.5 * 5))
    higher = rank_choices([0.2, 0.1, 0.3, 0.1], "higher")
    assert higher.chosen == 2
    assert all(math.isnan(value) for value in higher[2:])


def test_rank_choices_of_no_number() -> None:
    """NaN is the worst, in either direction."""
    for better in ("lower", "higher"):
        choice = rank_choices([math.nan, 0.5], better, truth=[30.0, 20.0])
        assert choice.chosen == 1
        assert choice.ranks == [2, 1]
        assert choice.regret == 10


def test_rank_choices_error() -> None:
    with pytest.raises(ValueError, match="no checkpoint to choose from"):
        rank_choices([], "lower")
