"""Terms: further losses that join a method without touching its step."""

from uda.selftraining.terms.adversarial import AdversarialOutput
from uda.selftraining.terms.base import Pass, Term, TermList
from uda.selftraining.terms.entropy import EntropyMinimisation
from uda.selftraining.terms.feature_distance import FeatureDistance
from uda.selftraining.terms.masked_consistency import MaskedConsistency
from uda.selftraining.terms.regions import RegionConsistency, RegionRegularisation
from uda.selftraining.terms.self_distillation import ProgressiveSelfDistillation

__all__ = [
    "AdversarialOutput",
    "EntropyMinimisation",
    "FeatureDistance",
    "MaskedConsistency",
    "Pass",
    "ProgressiveSelfDistillation",
    "RegionConsistency",
    "RegionRegularisation",
    "Term",
    "TermList",
]
