"""Losses: pure functions of tensors, each with its formula and source."""

from uda.losses.adversarial import domain_loss
from uda.losses.bank_contrast import bank_contrast
from uda.losses.cross_entropy import pixel_accuracy, weighted_cross_entropy
from uda.losses.entropy import entropy_map, mean_entropy, self_information
from uda.losses.feature_distance import (
    downscale_label,
    feature_distance,
    masked_mean,
    smooth_cosine_distance,
)
from uda.losses.generalised_cross_entropy import generalised_cross_entropy
from uda.losses.patch_contrast import patch_contrast
from uda.losses.pixel_contrast import pixel_contrast
from uda.losses.prototype_contrast import prototype_contrast, prototype_evenness
from uda.losses.regions import (
    region_consistency,
    region_entropy,
    region_mean,
    uniform_divergence,
)
from uda.losses.soft_cross_entropy import soft_cross_entropy, symmetric_cross_entropy

__all__ = [
    "bank_contrast",
    "domain_loss",
    "downscale_label",
    "entropy_map",
    "feature_distance",
    "generalised_cross_entropy",
    "masked_mean",
    "mean_entropy",
    "patch_contrast",
    "pixel_accuracy",
    "pixel_contrast",
    "prototype_contrast",
    "prototype_evenness",
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
