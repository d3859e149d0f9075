"""Soft neighbourhood density: how many other predictions each prediction is like."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_ROWS = 1024  # of the similarities that are in memory at a time


def soft_neighbourhood_density(
    probs: Tensor, *, temperature: float = 0.05, include_self: bool = False
) -> Tensor:
    """The mean entropy of the similarities of each prediction to the others, in nats.

    With f_i the i-th prediction divided by its L2 norm, and
    P_ij = exp(f_i . f_j / T) / sum_{j != i} exp(f_i . f_j / T), it is
    SND = -1/N sum_i sum_{j != i} P_ij log P_ij. High means that predictions form few dense groups,
    which the paper takes for a good network. Predictions that are all alike have the highest value
    there is, so that it does not see a collapse.

    Source: Saito et al., Tune it the Right Way, ICCV 2021. The code released for segmentation lets
    a pixel count as its own neighbour; so does `include_self=True`.

    Args:
        probs: (N, K) float, class probabilities of N pixels.
        temperature: T. The paper takes 0.05.
        include_self: Sum over j = i as well.

    Returns:
        A float64 scalar in [0, log(N - 1)], or [0, log N] with `include_self`; 0 where a pixel has
        no neighbour.

    Raises:
        ValueError: The temperature is not above 0.

    >>> same, other = [1.0, 0.0], [0.0, 1.0]
    >>> round(soft_neighbourhood_density(torch.tensor([same, same, other, other])).item(), 4)
    0.0
    >>> round(soft_neighbourhood_density(torch.tensor([same, same, same])).item(), 4)  # log 2
    0.6931
    """
    if not temperature > 0:
        raise ValueError(
            f"soft_neighbourhood_density: temperature has to be above 0, not {temperature}."
        )
    count = probs.shape[0]
    if count < 2 and not include_self:
        return probs.new_zeros((), dtype=torch.float64)
    features = F.normalize(probs.double(), dim=1)
    total = features.new_zeros(())
    for start in range(0, count, _ROWS):
        similarity = features[start : start + _ROWS] @ features.T / temperature
        if not include_self:
            # Row i of this block is pixel start + i.
            similarity.diagonal(start).fill_(-math.inf)
        total += torch.special.entr(similarity.softmax(1)).sum()
    return total / count


def sampled_pixels(available: int, wanted: int, image_number: int) -> Tensor:
    """Positions of some pixels of an image, the same ones whenever they are asked for.

    They depend on the image's number and size alone, so that every checkpoint is judged by the
    same pixels, and any number of processes draws the same. No global generator moves.

    Args:
        available: Pixels of the image.
        wanted: How many positions at most.
        image_number: Position of the image in the data set.

    Returns:
        (min(wanted, available),) int64, ascending, without repetition.

    >>> bool((sampled_pixels(1000, 4, 7) == sampled_pixels(1000, 4, 7)).all())
    True
    >>> sampled_pixels(3, 4, 7).tolist()
    [0, 1, 2]
    """
    if wanted >= available:
        return torch.arange(available)
    generator = np.random.default_rng(image_number)
    return torch.from_numpy(np.sort(generator.choice(available, wanted, replace=False)))
