"""Test-time adaptation: a deployed model that goes on learning from what it predicts.

Needs torch and torchvision alone and works on any module that gives logits, of images or pixels.
"""

from uda.tta.adapt import METHODS, adapt
from uda.tta.adapter import Adapter
from uda.tta.dense import dense_settings
from uda.tta.guard import Guard
from uda.tta.inspection import Inspection, inspect
from uda.tta.learner import Learner
from uda.tta.method import Method
from uda.tta.statistics import Statistics

__all__ = [
    "METHODS",
    "Adapter",
    "Guard",
    "Inspection",
    "Learner",
    "Method",
    "Statistics",
    "adapt",
    "dense_settings",
    "inspect",
]
