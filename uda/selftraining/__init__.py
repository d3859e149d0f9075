"""Exchangeable parts of self-training: teacher, selectors, mixers, views, terms.

Each is a plain torch class that works in anybody's training loop.
"""

from uda.selftraining.look_ahead import LookAhead
from uda.selftraining.mixers import ClassMix, CutMix, TargetMix
from uda.selftraining.selectors import (
    ClassBalancedThreshold,
    ConfidenceShare,
    ConfidenceThreshold,
    EntropyPercentile,
)
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.terms import EntropyMinimisation, FeatureDistance, Term
from uda.selftraining.views import ColorJitterBlur, NoView, TorchvisionView, View

__all__ = [
    "ClassBalancedThreshold",
    "ClassMix",
    "ColorJitterBlur",
    "ConfidenceShare",
    "ConfidenceThreshold",
    "CutMix",
    "EMATeacher",
    "EntropyMinimisation",
    "EntropyPercentile",
    "FeatureDistance",
    "LookAhead",
    "NoView",
    "TargetMix",
    "Term",
    "TorchvisionView",
    "View",
]
