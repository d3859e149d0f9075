"""Exchangeable parts of self-training: teacher, selectors, mixers, views, terms.

Each is a plain torch class that works in anybody's training loop.
"""

from uda.selftraining.discriminator import OutputDiscriminator
from uda.selftraining.kept_pixels import KeptPixels
from uda.selftraining.look_ahead import LookAhead
from uda.selftraining.masks import BlockMask
from uda.selftraining.memory_mix import MemoryMix
from uda.selftraining.mixers import ClassMix, CutMix, TargetMix
from uda.selftraining.prototype_teacher import PrototypeTeacher
from uda.selftraining.selectors import (
    AdaptiveThreshold,
    ClassBalancedThreshold,
    ConfidenceShare,
    ConfidenceThreshold,
    EntropyPercentile,
    EntropyWeight,
    InstanceAdaptive,
    OptimalTransport,
    TeacherDivergence,
)
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.teacher_pair import TeacherPair
from uda.selftraining.terms import (
    AdversarialOutput,
    ClassContrast,
    EntropyMinimisation,
    FeatureDistance,
    MaskedConsistency,
    PatchContrast,
    PixelContrast,
    ProgressiveSelfDistillation,
    RegionConsistency,
    RegionRegularisation,
    Term,
)
from uda.selftraining.views import ColorJitterBlur, FourierStyle, NoView, TorchvisionView, View

__all__ = [
    "AdaptiveThreshold",
    "AdversarialOutput",
    "BlockMask",
    "ClassBalancedThreshold",
    "ClassContrast",
    "ClassMix",
    "ColorJitterBlur",
    "ConfidenceShare",
    "ConfidenceThreshold",
    "CutMix",
    "EMATeacher",
    "EntropyMinimisation",
    "EntropyPercentile",
    "EntropyWeight",
    "FeatureDistance",
    "FourierStyle",
    "InstanceAdaptive",
    "KeptPixels",
    "LookAhead",
    "MaskedConsistency",
    "MemoryMix",
    "NoView",
    "OptimalTransport",
    "OutputDiscriminator",
    "PatchContrast",
    "PixelContrast",
    "ProgressiveSelfDistillation",
    "PrototypeTeacher",
    "RegionConsistency",
    "RegionRegularisation",
    "TargetMix",
    "TeacherDivergence",
    "TeacherPair",
    "Term",
    "TorchvisionView",
    "View",
]
