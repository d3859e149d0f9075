"""How well a score ranks checkpoints: rank correlation with the truth, and regret of the choice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from uda.evaluation.label_free.scores import Better


class Choice(NamedTuple):
    """The checkpoint that a score chooses, and how well the score ranks all.

    Attributes:
        chosen: Position of the chosen checkpoint; of equal scores the last.
        ranks: Of all checkpoints, 1 for the best; equal scores share the mean of their ranks.
        spearman: Rank correlation with the true mIoU, 1 for the same order, -1 for the reverse;
            NaN without truth, or where all scores or all truths are equal.
        kendall: Kendall's tau-b, likewise.
        regret: True mIoU of the best checkpoint less that of the chosen one, in points; NaN without
            truth.
    """

    chosen: int
    ranks: list[float]
    spearman: float
    kendall: float
    regret: float


def rank_choices(
    values: Sequence[float], better: Better, truth: Sequence[float] | None = None
) -> Choice:
    """What a score chooses among checkpoints.

    Args:
        values: Of the score, one a checkpoint; one that is NaN counts as the worst.
        better: Which direction is better.
        truth: True mIoU of each checkpoint in percent, if it is known.

    Raises:
        ValueError: There is no checkpoint.

    >>> choice = rank_choices([0.5, 0.3, 0.4], "lower", truth=[40.0, 42.0, 45.0])
    >>> choice.chosen, choice.ranks, choice.spearman, choice.regret
    (1, [3.0, 1.0, 2.0], 0.5, 3.0)
    """
    if not values:
        raise ValueError("rank_choices: there is no checkpoint to choose from.")
    goodness = [oriented(value, better) for value in values]
    best = max(goodness)
    index = max(i for i, value in enumerate(goodness) if value == best)
    found = ranks([-value for value in goodness])
    if truth is None:
        return Choice(index, found, math.nan, math.nan, math.nan)
    return Choice(
        index,
        found,
        spearman(goodness, truth),
        kendall(goodness, truth),
        max(truth) - truth[index],
    )


def oriented(value: float, better: Better) -> float:
    """The value as one of which more is better; the worst there is for NaN.

    >>> oriented(2.0, "lower"), oriented(2.0, "higher"), oriented(math.nan, "lower")
    (-2.0, 2.0, -inf)
    """
    if math.isnan(value):
        return -math.inf
    return value if better == "higher" else -value


def ranks(values: Sequence[float]) -> list[float]:
    """The rank of each value, 1 for the smallest; equal values share the mean of their ranks.

    >>> ranks([3.0, 1.0, 3.0])
    [2.5, 1.0, 2.5]
    """
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rho: the correlation of the ranks, in [-1, 1]; NaN where all of one are equal.

    >>> spearman([1, 2, 3], [1, 3, 2])
    0.5
    """
    a, b = ranks(first), ranks(second)
    middle = (len(a) + 1) / 2
    product = sum((x - middle) * (y - middle) for x, y in zip(a, b, strict=True))
    scale = math.sqrt(sum((x - middle) ** 2 for x in a) * sum((y - middle) ** 2 for y in b))
    return max(-1.0, min(1.0, product / scale)) if scale else math.nan


def kendall(first: Sequence[float], second: Sequence[float]) -> float:
    """Kendall's tau-b, which allows for equal values, in [-1, 1]; NaN where all of one are equal.

    With c pairs in the same order, d in the reverse, it is (c - d) / sqrt(pairs that differ in
    `first` * pairs that differ in `second`).

    >>> round(kendall([1, 2, 3], [1, 3, 2]), 4)
    0.3333
    """
    order = [
        (_sign(x, u), _sign(y, v))
        for (x, y), (u, v) in itertools.combinations(zip(first, second, strict=True), 2)
    ]
    differ = [sum(pair[side] != 0 for pair in order) for side in (0, 1)]
    scale = math.sqrt(differ[0] * differ[1])
    return max(-1.0, min(1.0, sum(a * b for a, b in order) / scale)) if scale else math.nan


def _sign(one: float, other: float) -> int:
    return (one > other) - (one < other)
