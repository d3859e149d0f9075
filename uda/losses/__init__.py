"""Losses: pure functions of tensors, each with its formula and source."""

from uda.losses.adversarial import domain_loss
from uda.losses.cross_entropy import pixel_accuracy, weighted_cross_entropy
from uda.losses.entropy import entropy_map, mean_entropy, self_information
from uda.losses.feature_distance import (
    downscale_label,
    feature_distance,
    masked_mean,
    smooth_cosine_distance,
)
from uda.losses.generalised_cross_entropy import generalised_cross_entropy
from uda.losses.regions import (
    region_consistency,
    region_entropy,
    region_mean,
    uniform_divergence,
)
from uda.losses.soft_cross_entropy import soft_cross_entropy, symmetric_cross_entropy

__all__ = [
    "domain_loss",
    "downscale_label",
    "entropy_map",
    "feature_distance",
    "generalised_cross_entropy",
    "masked_mean",
    "mean_entropy",
    "pixel_accuracy",
    "region_consistency",
    "region_entropy",
    "region_mean",
    "self_information",
    "smooth_cosine_distance",
    "soft_cross_entropy",
    "symmetric_cross_entropy",
    "uniform_divergence",
    "weighted_cross_entropy",
]
