"""Unsupervised domain adaptation of semantic segmentation and test-time adaptation.

Nothing heavy is imported here: take what you need from `uda.selftraining`, `uda.methods`,
`uda.models`, `uda.data`, `uda.evaluation`, `uda.runs` or `uda.engine`.
"""

__version__ = "0.1.0"
