"""Methods: one file a published training step, readable from top to bottom."""

from uda.methods.base import Method, Optimiser, PlainOptimiser
from uda.methods.dual_teacher_student import DualTeacherStudent
from uda.methods.self_training import SelfTraining
from uda.methods.source_only import SourceOnly
from uda.registry import METHODS

for _method in (SelfTraining, SourceOnly, DualTeacherStudent):
    METHODS.register_module(module=_method)

__all__ = [
    "DualTeacherStudent",
    "Method",
    "Optimiser",
    "PlainOptimiser",
    "SelfTraining",
    "SourceOnly",
]
