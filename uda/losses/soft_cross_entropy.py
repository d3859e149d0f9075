"""Cross-entropy with a distribution as target."""

from __future__ import annotations

from torch import Tensor


def soft_cross_entropy(logits: Tensor, target_probs: Tensor) -> Tensor:
    """The cross-entropy `-sum_k t_k log p_k` of each prediction with a target distribution.

    Soft pseudo-labels (Rusak et al., arXiv 2104.12928) and consistency with a teacher (CoTTA, Wang
    et al., CVPR 2022, eq. 3) are this loss with a detached target. With the detached prediction
    itself as target the gradient is `p - p = 0`: a target has to come from elsewhere.

    Args:
        logits: (N, K, ...) float.
        target_probs: (N, K, ...) float, non-negative and summing to 1 over K.

    Returns:
        (N, ...) float.

    >>> import torch
    >>> round(soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]])).item(), 4)  # log 2
    0.6931
    """
    return -(target_probs * logits.log_softmax(1)).sum(1)


def symmetric_cross_entropy(logits: Tensor, target_logits: Tensor) -> Tensor:
    """Half the cross-entropy with the target, half that of the target with the prediction.

    `-0.5 sum_k t_k log p_k - 0.5 sum_k p_k log t_k`, the loss of CoTTA's and ViDA's released code
    on ImageNet-C.

    Args:
        logits: (N, K, ...) float.
        target_logits: (N, K, ...) float, usually a teacher's, detached.

    Returns:
        (N, ...) float.

    >>> import torch
    >>> round(symmetric_cross_entropy(torch.zeros(1, 2), torch.zeros(1, 2)).item(), 4)
    0.6931
    """
    forward = soft_cross_entropy(logits, target_logits.softmax(1))
    return 0.5 * forward + 0.5 * soft_cross_entropy(target_logits, logits.softmax(1))
