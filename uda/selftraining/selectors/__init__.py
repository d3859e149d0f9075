"""Selectors: from the teacher's probabilities to pseudo-labels with weights."""

from uda.selftraining.selectors.base import Selector
from uda.selftraining.selectors.class_balanced import ClassBalancedThreshold
from uda.selftraining.selectors.confidence import ConfidenceShare, ConfidenceThreshold
from uda.selftraining.selectors.entropy_percentile import EntropyPercentile
from uda.selftraining.selectors.instance_adaptive import InstanceAdaptive

__all__ = [
    "ClassBalancedThreshold",
    "ConfidenceShare",
    "ConfidenceThreshold",
    "EntropyPercentile",
    "InstanceAdaptive",
    "Selector",
]
