"""Distance between the student's features and those of a frozen encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.processes import mean_over


def feature_distance(features: Tensor, reference: Tensor) -> Tensor:
    """The L2 norm over channels of the difference, at each position.

    `d_j = || f_j - r_j ||_2` (Hoyer et al., DAFormer, CVPR 2022), neither squared nor divided by
    the number of channels. Where both agree exactly the gradient is 0.

    Args:
        features: (N, C, h, w) float, the student's map.
        reference: (N, C, h, w) float, the frozen encoder's map.

    Returns:
        (N, h, w) float, at least 0.

    >>> f = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    >>> feature_distance(f, torch.zeros_like(f)).item()
    5.0
    """
    return torch.linalg.vector_norm(features - reference, dim=1)


def smooth_cosine_distance(features: Tensor, reference: Tensor, *, share: float = 0.1) -> Tensor:
    """The distance of features to those of a foundation encoder, at each position.

    `d_j = share * mean_c smoothL1(f_cj - r_cj) + (1 - share) (1 - cos(f_j, r_j))`, smoothL1 with
    beta 1 (VFM-UDA++, released code, with share 0.1). Without the first part it lies in [0, 2].

    Args:
        features: (N, C, h, w) float, projected to the frozen encoder's channels.
        reference: (N, C, h, w) float, the frozen encoder's map.
        share: Weight of the smooth L1 distance, in [0, 1].

    Returns:
        (N, h, w) float, at least 0.

    >>> f = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1)
    >>> smooth_cosine_distance(f, f.flip(1)).item()  # 0.1 * 1.5 + 0.9 * 1
    1.0499999523162842
    """
    smooth = F.smooth_l1_loss(features, reference, reduction="none").mean(1)
    angle = 1 - F.cosine_similarity(features, reference, dim=1)
    return share * smooth + (1 - share) * angle


def downscale_label(
    label: Tensor,
    size: tuple[int, int],
    *,
    num_classes: int,
    min_share: float = 0.75,
    ignore_index: int = 255,
) -> Tensor:
    """The class that holds at least `min_share` of the block behind each position of a map.

    One-hot with the ignored pixels as a further class, average pooling, highest share; blocks
    won by the ignored class or below `min_share` become `ignore_index`.

    Args:
        label: (N, H, W) int64, class ids or `ignore_index`.
        size: Height and width of the feature map. Where they divide those of the label, the
            blocks are those of an average pooling with this factor, as in the released code.
        num_classes: K.
        min_share: Share of the block in [0, 1].
        ignore_index: Id of pixels without a class.

    Returns:
        (N, *size) int64.

    >>> label = torch.tensor([[[1, 1, 0, 0], [1, 1, 1, 255]]])
    >>> downscale_label(label, (1, 2), num_classes=2).tolist()
    [[[1, 255]]]
    """
    class_ids = torch.arange(num_classes + 1, device=label.device).view(1, -1, 1, 1)
    known = torch.where(label == ignore_index, num_classes, label)
    one_hot = (known.unsqueeze(1) == class_ids).float()
    shares = F.adaptive_avg_pool2d(one_hot, size)
    share, winner = shares.max(1)
    return torch.where((winner == num_classes) | (share < min_share), ignore_index, winner)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` where `mask` is True, and 0 with zero gradient where it never is.

    The released DAFormer divides 0 by 0 for an empty mask and logs NaN, with zero gradient all
    the same; 0 keeps the gradient and poisons no log, sum or other process.

    Args:
        values: (...) float.
        mask: (...) bool, same shape.

    >>> masked_mean(torch.tensor([2.0, 4.0]), torch.tensor([False, True])).item()
    4.0
    """
    kept = mask.to(values.dtype)
    return mean_over((values * kept).sum(), kept.sum())
