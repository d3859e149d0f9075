"""Terms: further losses that join a method without touching its step."""

from uda.selftraining.terms.adversarial import AdversarialOutput
from uda.selftraining.terms.base import Pass, Term, TermList
from uda.selftraining.terms.class_contrast import ClassContrast
from uda.selftraining.terms.entropy import EntropyMinimisation
from uda.selftraining.terms.feature_distance import FeatureDistance
from uda.selftraining.terms.masked_consistency import MaskedConsistency
from uda.selftraining.terms.patch_contrast import PatchContrast
from uda.selftraining.terms.pixel_contrast import PixelContrast
from uda.selftraining.terms.regions import RegionConsistency, RegionRegularisation
from uda.selftraining.terms.self_distillation import ProgressiveSelfDistillation

__all__ = [
    "AdversarialOutput",
    "ClassContrast",
    "EntropyMinimisation",
    "FeatureDistance",
    "MaskedConsistency",
    "Pass",
    "PatchContrast",
    "PixelContrast",
    "ProgressiveSelfDistillation",
    "RegionConsistency",
    "RegionRegularisation",
    "Term",
    "TermList",
]
