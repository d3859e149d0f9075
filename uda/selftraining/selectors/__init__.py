"""Selectors: from the teacher's probabilities to pseudo-labels with weights."""

from uda.selftraining.selectors.adaptive_threshold import AdaptiveThreshold
from uda.selftraining.selectors.base import Selector
from uda.selftraining.selectors.class_balanced import ClassBalancedThreshold
from uda.selftraining.selectors.confidence import ConfidenceShare, ConfidenceThreshold
from uda.selftraining.selectors.entropy_percentile import EntropyPercentile
from uda.selftraining.selectors.entropy_weight import EntropyWeight
from uda.selftraining.selectors.instance_adaptive import InstanceAdaptive
from uda.selftraining.selectors.optimal_transport import OptimalTransport
from uda.selftraining.selectors.teacher_divergence import TeacherDivergence

__all__ = [
    "AdaptiveThreshold",
    "ClassBalancedThreshold",
    "ConfidenceShare",
    "ConfidenceThreshold",
    "EntropyPercentile",
    "EntropyWeight",
    "InstanceAdaptive",
    "OptimalTransport",
    "Selector",
    "TeacherDivergence",
]
