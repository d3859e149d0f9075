"""Cross-entropy with pixel weights, as self-training needs it."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.processes import mean_over

Average = Literal["all", "valid"]


def weighted_cross_entropy(
    logits: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = 255,
    average: Average = "all",
) -> Tensor:
    """The mean over pixels of `weight * -log softmax(logits)[label]`.

    Ignored pixels add nothing to the sum. With `average="all"` they still count in the
    denominator: `sum(w * ce) / (N H W)`, which is what the released code of DACS and DAFormer
    does (mmseg's `weight_reduce_loss` without `avg_factor`), so that published learning rates
    keep their meaning. `average="valid"` divides by the number of labelled pixels.

    Args:
        logits: (N, K, H, W) float.
        label: (N, H, W) int64, class ids or `ignore_index`.
        weight: (N, H, W) float, weight of each pixel in [0, 1]; None means 1 everywhere.
        ignore_index: The id that is in no loss.
        average: What the sum is divided by: `"all"` pixels or the `"valid"` ones.

    Returns:
        A scalar. It is 0, with zero gradient, where no pixel is labelled.

    Raises:
        ValueError: The shapes do not fit, or `average` is unknown.

    >>> logits = torch.zeros(1, 2, 1, 2)
    >>> label = torch.tensor([[[0, 255]]])
    >>> round(weighted_cross_entropy(logits, label).item(), 4)  # log(2) over 2 pixels
    0.3466
    >>> round(weighted_cross_entropy(logits, label, average="valid").item(), 4)
    0.6931
    """
    _check_shapes(logits, label, weight)
    loss = _pixel_losses(logits, label, ignore_index)
    if weight is not None:
        loss = loss * weight
    if average == "all":
        return loss.mean()
    if average == "valid":
        return mean_over(loss.sum(), (label != ignore_index).sum())
    raise ValueError(f'average has to be "all" or "valid", not {average!r}.')


def _pixel_losses(logits: Tensor, label: Tensor, ignore_index: int) -> Tensor:
    if not torch.are_deterministic_algorithms_enabled():
        return F.cross_entropy(logits, label, ignore_index=ignore_index, reduction="none")
    # torch refuses its own loss on maps then, on CUDA. Here each sum has one term that is not 0,
    # so that value and gradient are the same to the bit; it takes the memory of a second map.
    class_ids = torch.arange(logits.shape[1], device=logits.device)
    class_ids = class_ids.view(1, -1, *[1] * (label.ndim - 1))
    labelled = (label != ignore_index).unsqueeze(1) & (label.unsqueeze(1) == class_ids)
    return torch.where(labelled, -logits.log_softmax(1), 0.0).sum(1)


def pixel_accuracy(logits: Tensor, label: Tensor) -> Tensor:
    """The percentage of all pixels whose highest logit is the label's; ignored ones are wrong.

    Dividing by all pixels follows the released code, so that logs can be compared.

    Args:
        logits: (N, K, H, W) float.
        label: (N, H, W) int64.

    Returns:
        A scalar in [0, 100], without gradient.
    """
    # max is several times faster than argmax on a CPU
    return (logits.detach().max(1).indices == label).float().mean() * 100


def _check_shapes(logits: Tensor, label: Tensor, weight: Tensor | None) -> None:
    wanted = torch.Size((logits.shape[0], *logits.shape[2:]))
    for name, given in (("label", label), ("weight", weight)):
        if given is not None and given.shape != wanted:
            raise ValueError(
                f"{name} has shape {tuple(given.shape)}, but logits of shape "
                f"{tuple(logits.shape)} need {tuple(wanted)}; resize the logits to the label."
            )
