"""Whether a network is right as often as it is sure: reliability bins and their error."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 15


def reliability_bins(confidence: Tensor, correct: Tensor, bins: int = BINS) -> Tensor:
    """Pixels by confidence: how many fall into each bin, how sure and how right they are.

    Bins are of equal width over [0, 1]; a confidence on a border belongs to the lower bin, as in
    Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 2.

    Args:
        confidence: Highest class probability of each pixel, any shape, in [0, 1]; ignored pixels
            have been left out.
        correct: Whether each was predicted rightly, same shape, bool.
        bins: How many.

    Returns:
        (3, bins) float64 on the CPU: number of pixels, sum of confidence, number of right ones.
        Bins of several images may be added up.

    Raises:
        ValueError: The shapes differ, or there is no bin.

    >>> reliability_bins(torch.tensor([0.9, 0.6, 0.2]), torch.tensor([True, False, True]), 2)
    tensor([[1.0000, 2.0000],
            [0.2000, 1.5000],
            [1.0000, 1.0000]], dtype=torch.float64)
    """
    if confidence.shape != correct.shape:
        raise ValueError(
            f"confidence and correct must have the same shape, got {tuple(confidence.shape)} and "
            f"{tuple(correct.shape)}"
        )
    if bins < 1:
        raise ValueError(f"the number of bins must be at least 1, got {bins}")
    sure = confidence.flatten().double().cpu()
    place = (sure * bins).ceil().long().sub(1).clamp(0, bins - 1)
    weights = (torch.ones_like(sure), sure, correct.flatten().double().cpu())
    return torch.stack([torch.bincount(place, weight, minlength=bins) for weight in weights])


def expected_calibration_error(bins: Tensor) -> float:
    """The mean distance between confidence and accuracy, in [0, 1]; NaN without pixels.

    ECE = sum_b n_b / n |accuracy_b - confidence_b| (Guo et al., 2017, eq. 3).

    Args:
        bins: (3, B), from `reliability_bins`.

    >>> bins = torch.tensor([[1.0, 2.0], [0.2, 1.5], [1.0, 1.0]], dtype=torch.float64)
    >>> round(expected_calibration_error(bins), 4)
    0.4333
    """
    pixels = float(bins[0].sum())
    return float((bins[2] - bins[1]).abs().sum()) / pixels if pixels else float("nan")
