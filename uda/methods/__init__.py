"""Methods: one file a published training step, readable from top to bottom."""

from uda.methods.adversarial_warm_up import AdversarialWarmUp
from uda.methods.base import Method, Optimiser, PlainOptimiser
from uda.methods.dual_teacher_student import DualTeacherStudent
from uda.methods.hard_aware_self_training import HardAwareSelfTraining
from uda.methods.self_training import SelfTraining
from uda.methods.source_only import SourceOnly
from uda.registry import METHODS

for _method in (
    AdversarialWarmUp,
    DualTeacherStudent,
    HardAwareSelfTraining,
    SelfTraining,
    SourceOnly,
):
    METHODS.register_module(module=_method)

__all__ = [
    "AdversarialWarmUp",
    "DualTeacherStudent",
    "HardAwareSelfTraining",
    "Method",
    "Optimiser",
    "PlainOptimiser",
    "SelfTraining",
    "SourceOnly",
]
