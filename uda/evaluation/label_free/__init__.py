"""Scores that need no labels: of one network, of student and teacher, and how well they rank."""

from __future__ import annotations

from uda.evaluation.label_free.metric import LabelFreeScores
from uda.evaluation.label_free.neighbourhood import soft_neighbourhood_density
from uda.evaluation.label_free.ranking import Choice, kendall, rank_choices, ranks, spearman
from uda.evaluation.label_free.scores import SCORES, agreement_scores, label_free_scores
from uda.evaluation.label_free.sums import PredictionSums, prediction_sums

__all__ = [
    "SCORES",
    "Choice",
    "LabelFreeScores",
    "PredictionSums",
    "agreement_scores",
    "kendall",
    "label_free_scores",
    "prediction_sums",
    "rank_choices",
    "ranks",
    "soft_neighbourhood_density",
    "spearman",
]
