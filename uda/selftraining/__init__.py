"""Exchangeable parts of self-training: teacher, selectors, mixers, views, terms.

Each is a plain torch class that works in anybody's training loop.
"""

from uda.selftraining.discriminator import OutputDiscriminator
from uda.selftraining.kept_pixels import KeptPixels
from uda.selftraining.look_ahead import LookAhead
from uda.selftraining.mixers import ClassMix, CutMix, TargetMix
from uda.selftraining.selectors import (
    ClassBalancedThreshold,
    ConfidenceShare,
    ConfidenceThreshold,
    EntropyPercentile,
    InstanceAdaptive,
)
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.terms import (
    AdversarialOutput,
    EntropyMinimisation,
    FeatureDistance,
    RegionConsistency,
    RegionRegularisation,
    Term,
)
from uda.selftraining.views import ColorJitterBlur, NoView, TorchvisionView, View

__all__ = [
    "AdversarialOutput",
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
    "InstanceAdaptive",
    "KeptPixels",
    "LookAhead",
    "NoView",
    "OutputDiscriminator",
    "RegionConsistency",
    "RegionRegularisation",
    "TargetMix",
    "Term",
    "TorchvisionView",
    "View",
]
