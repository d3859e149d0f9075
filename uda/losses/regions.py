"""Losses on a region of the image: towards uniform, towards certain, towards a teacher."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from uda.processes import mean_over

Normalisation = Literal["pixels", "pixels_and_classes", "nonzero_terms"]
Consistency = Literal["cross_entropy", "squared", "divergence"]


def region_mean(terms: Tensor, mask: Tensor, *, normalisation: Normalisation) -> Tensor:
    """The sum of `terms` over a region and all classes, divided by what `normalisation` counts.

    Args:
        terms: (N, K, H, W) float, what each pixel and class adds.
        mask: (N, H, W) bool, True in the region.
        normalisation: `"pixels"` of the region: the mean over pixels of sums over classes, as
            papers write it (clean). `"pixels_and_classes"`: K times as much. `"nonzero_terms"`:
            the entries of the region that are not exactly 0.

    Returns:
        A scalar; 0 with zero gradient for an empty region, where released code has 0/0.

    Raises:
        ValueError: The shapes do not fit, or `normalisation` is unknown.

    >>> terms = torch.tensor([[1.0, 5.0], [0.0, 5.0]]).view(1, 2, 1, 2)
    >>> mask = torch.tensor([[[True, False]]])
    >>> kinds = ("pixels", "pixels_and_classes", "nonzero_terms")
    >>> [region_mean(terms, mask, normalisation=kind).item() for kind in kinds]
    [1.0, 0.5, 1.0]
    """
    wanted = (terms.shape[0], *terms.shape[2:])
    if tuple(mask.shape) != wanted:
        # A mask with a further axis would broadcast and mix the images of a batch.
        raise ValueError(f"The region has shape {tuple(mask.shape)}; it has to be {wanted}.")
    inside = torch.where(mask.unsqueeze(1), terms, 0.0)
    if normalisation == "pixels":
        count = mask.sum()
    elif normalisation == "pixels_and_classes":
        count = mask.sum() * terms.shape[1]
    elif normalisation == "nonzero_terms":
        count = (inside != 0).sum()
    else:
        raise ValueError(
            'normalisation has to be "pixels", "pixels_and_classes" or "nonzero_terms", not '
            f"{normalisation!r}."
        )
    return mean_over(inside.sum(), count)


def uniform_divergence(
    logits: Tensor, mask: Tensor, *, normalisation: Normalisation = "pixels_and_classes"
) -> Tensor:
    """The mean over a region of `1/K sum_k -log p_k`, least where predictions are uniform.

    This is `KL(uniform || p) + log K`, the confident-region term of IAST (Mei et al., ECCV 2020)
    and HIAST: it holds kept pixels back from certainty. The released code divides by
    `pixels_and_classes` (reference), so once more by K than the paper's formula, `pixels` (clean);
    it is the default because the published weight 0.1 was chosen with it.

    Args:
        logits: (N, K, H, W) float.
        mask: (N, H, W) bool, the region.
        normalisation: See `region_mean`.

    Returns:
        A scalar, at least `log K` (divided by K) for a region that is not empty, else 0.

    >>> mask = torch.ones(1, 1, 1, dtype=torch.bool)
    >>> round(uniform_divergence(torch.zeros(1, 2, 1, 1), mask, normalisation="pixels").item(), 4)
    0.6931
    """
    terms = -logits.log_softmax(1) / logits.shape[1]
    return region_mean(terms, mask, normalisation=normalisation)


def region_entropy(
    logits: Tensor, mask: Tensor, *, normalisation: Normalisation = "pixels_and_classes"
) -> Tensor:
    """The mean over a region of the entropy `-sum_k p_k log p_k`, in nats.

    The ignored-region term of IAST (Mei et al., ECCV 2020) and HIAST. Its normalisation has the
    reasons of `uniform_divergence`; with `"pixels"` it is `mean_entropy`.

    Args:
        logits: (N, K, H, W) float.
        mask: (N, H, W) bool, the region.
        normalisation: See `region_mean`.

    Returns:
        A scalar in [0, log K], or [0, log K / K] with the default; 0 for an empty region.
    """
    log_probs = logits.log_softmax(1)
    return region_mean(-log_probs.exp() * log_probs, mask, normalisation=normalisation)


def region_consistency(
    logits: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    kind: Consistency = "cross_entropy",
    normalisation: Normalisation = "nonzero_terms",
) -> Tensor:
    """How far predictions are from a teacher's probabilities t in a region.

    - `"cross_entropy"`: `-t_k log p_k` (HIAST);
    - `"squared"`: `(p_k - t_k)^2`;
    - `"divergence"`: `t_k (log t_k - log p_k)`, the cross-entropy less the entropy of t.

    The released code of HIAST divides by the `nonzero_terms` (reference), which are all of the
    region and classes unless a probability of the teacher is exactly 0. It is the default because
    the published weight 0.5 was chosen with it.

    Args:
        logits: (N, K, H, W) float, the student's.
        target: (N, K, H, W) float in [0, 1], t; gets no gradient.
        mask: (N, H, W) bool, the region.
        kind: See above.
        normalisation: See `region_mean`.

    Returns:
        A scalar, at least 0; 0 for an empty region.

    Raises:
        ValueError: `kind` is unknown.
    """
    target = target.detach()
    if kind == "cross_entropy":
        terms = -target * logits.log_softmax(1)
    elif kind == "squared":
        terms = (logits.softmax(1) - target) ** 2
    elif kind == "divergence":
        # xlogy: a probability of 0 adds 0, not NaN
        terms = torch.xlogy(target, target) - target * logits.log_softmax(1)
    else:
        raise ValueError(
            f'kind has to be "cross_entropy", "squared" or "divergence", not {kind!r}.'
        )
    return region_mean(terms, mask, normalisation=normalisation)
