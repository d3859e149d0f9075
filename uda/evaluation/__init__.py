"""Evaluation: exact confusion matrices, class subsets, mmengine metrics, reports over seeds.

Scores that need no labels are in `uda.evaluation.label_free`.
"""

from __future__ import annotations

from uda.evaluation.confusion import (
    ConfusionMatrix,
    MeanIoU,
    confusion_matrix,
    iou_from_matrix,
    mean_iou,
    overall_accuracy,
    recall_from_matrix,
)
from uda.evaluation.label_free import LabelFreeScores
from uda.evaluation.metric import SegmentationMetric, network_scores
from uda.evaluation.prediction_writer import PredictionWriter
from uda.evaluation.report import write_metrics
from uda.evaluation.subsets import CITYSCAPES_CLASSES, class_subset, named_subsets
from uda.evaluation.summary import RunSummary, markdown_table, summarise_runs
from uda.evaluation.table import class_table

__all__ = [
    "CITYSCAPES_CLASSES",
    "ConfusionMatrix",
    "LabelFreeScores",
    "MeanIoU",
    "PredictionWriter",
    "RunSummary",
    "SegmentationMetric",
    "class_subset",
    "class_table",
    "confusion_matrix",
    "iou_from_matrix",
    "markdown_table",
    "mean_iou",
    "named_subsets",
    "network_scores",
    "overall_accuracy",
    "recall_from_matrix",
    "summarise_runs",
    "write_metrics",
]
