"""Scores of a network on images without labels, and which direction of each is better."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from uda.evaluation.confusion import mean_iou, overall_accuracy
from uda.evaluation.label_free.sums import Means, PredictionSums, means

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Score:
    """What is known of a score.

    Attributes:
        better: Which direction its source takes for a better network.
        unit: Of its values.
        meaning: In a few words.
        source: Paper; the formula stands at the function.
        of_pair: It compares student and teacher, and is logged as the student's.
    """

    better: Better
    unit: str
    meaning: str
    source: str
    of_pair: bool = False


SCORES: dict[str, Score] = {
    "entropy": Score(
        "lower",
        "nats",
        "mean entropy of a pixel's prediction",
        "Morerio et al., Minimal-Entropy Correlation Alignment, ICLR 2018",
    ),
    "information": Score(
        "higher",
        "nats",
        "entropy of the mean prediction less mean entropy",
        "Liang et al., SHOT, ICML 2020; as a validator: Musgrave et al., 2022",
    ),
    "neighbourhood_density": Score(
        "higher",
        "nats",
        "entropy of the similarities between predictions",
        "Saito et al., Tune it the Right Way, ICCV 2021",
    ),
    "nuclear_norm": Score(
        "higher",
        "share",
        "nuclear norm of all predictions, 1 if certain and balanced",
        "Cui et al., BNM, CVPR 2020; scaled as in Deng et al., CVPR 2023",
    ),
    "agreement": Score(
        "higher", "%", "pixels with one class by student and teacher", "no paper", True
    ),
    "agreement_mIoU": Score(
        "higher", "%", "mean IoU of the student's classes with the teacher's", "no paper", True
    ),
}


def label_free_scores(sums: PredictionSums) -> dict[str, float]:
    """The scores of one network by name, see `SCORES`; NaN where a prediction was no number.

    Args:
        sums: Over all images.
    """
    found = means(sums)
    return {
        "entropy": entropy(found),
        "information": information(found),
        "neighbourhood_density": float(found.density),
        "nuclear_norm": nuclear_norm(found),
    }


def agreement_scores(matrix: Tensor) -> dict[str, float]:
    """How far two networks agree, in percent: over all pixels, and as a mean over classes.

    The second is the mean IoU of one network's classes with the other's as truth. Large classes,
    on which networks agree early, do not decide it.

    Args:
        matrix: (K, K) int64, pixels by class of the one and of the other network.

    >>> agreement_scores(torch.tensor([[3, 1], [0, 0]]))
    {'agreement': 75.0, 'agreement_mIoU': 37.5}
    """
    return {
        "agreement": 100 * overall_accuracy(matrix),
        "agreement_mIoU": 100 * mean_iou(matrix).value,
    }


def entropy(found: Means) -> float:
    """The mean entropy -sum_k p_k log p_k of a pixel's prediction, in [0, log K] nats.

    Low entropy means that the network is certain, not that it is right: the entropy of a network
    that puts all pixels into one class with certainty is 0.
    """
    return _within(found.entropy, 0.0, math.log(len(found.probs)))


def information(found: Means) -> float:
    """H(mean p) - mean H(p): the information of a prediction about its pixel, in [0, log K] nats.

    Certain predictions of all classes equally often have log K. Predictions that are all alike,
    certain or not, have 0, so that it sees a collapse. It favours classes of equal size, which
    those of a street are not.
    """
    of_mean = torch.special.entr(found.probs).sum()
    return _within(of_mean - found.entropy, 0.0, math.log(len(found.probs)))


def nuclear_norm(found: Means) -> float:
    """The nuclear norm of the matrix of all predictions, divided by its largest possible value.

    The sum of the singular values of the (N, K) matrix A of N pixels, divided by
    sqrt(N min(N, K)). They are the roots of the eigenvalues of A^T A, a (K, K) sum over pixels, so
    that A is never in memory. Certain predictions of all classes equally often have 1, certain ones
    of a single class 1 / sqrt(K), predictions without any preference 1 / K (all for N >= K).
    """
    if not bool(found.products.isfinite().all()):
        return math.nan
    # The mean of products is A^T A / N.
    values = torch.linalg.eigvalsh(found.products).clamp(min=0).sqrt().sum()
    return _within(values / math.sqrt(min(found.pixels, len(found.probs))), 0.0, 1.0)


def _within(value: Tensor, low: float, high: float) -> float:
    """The value, with what rounding put out of its range put back; NaN stays."""
    return float(value.clamp(low, high))
