"""Losses: pure functions of tensors, each with its formula and source."""

from uda.losses.cross_entropy import pixel_accuracy, weighted_cross_entropy
from uda.losses.entropy import entropy_map, mean_entropy
from uda.losses.feature_distance import downscale_label, feature_distance, masked_mean
from uda.losses.generalised_cross_entropy import generalised_cross_entropy
from uda.losses.soft_cross_entropy import soft_cross_entropy, symmetric_cross_entropy

__all__ = [
    "downscale_label",
    "entropy_map",
    "feature_distance",
    "generalised_cross_entropy",
    "masked_mean",
    "mean_entropy",
    "pixel_accuracy",
    "soft_cross_entropy",
    "symmetric_cross_entropy",
    "weighted_cross_entropy",
]
