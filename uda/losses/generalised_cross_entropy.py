"""Generalised cross-entropy: between cross-entropy and mean absolute error."""

from __future__ import annotations

from torch import Tensor

# Below it both losses agree to more digits than a float has, and q log p would be denormal.
_ALMOST_ZERO = 1e-20


def generalised_cross_entropy(logits: Tensor, label: Tensor, *, q: float = 0.8) -> Tensor:
    """The loss `(1 - p_label^q) / q` of each prediction.

    Zhang and Sabuncu, NeurIPS 2018; robust pseudo-labelling (Rusak et al., arXiv 2104.12928) uses
    it with q = 0.8 and the prediction itself as label. `q -> 0` is cross-entropy, `q = 1` is `1 -
    p_label`. The released code selects by a matrix of all samples with all samples; here the
    label's entry is gathered, so that pixels cost no more than their number.

    Args:
        logits: (N, K, ...) float.
        label: (N, ...) int64, class ids; none is ignored here, weight the map instead.
        q: In [0, 1].

    Returns:
        (N, ...) float in [0, 1/q].

    Raises:
        ValueError: `q` is out of range.

    >>> import torch
    >>> generalised_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), q=1.0).item()
    0.5
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q has to lie in [0, 1] (0 is cross-entropy), not {q}.")
    log_prob = logits.log_softmax(1).gather(1, label.unsqueeze(1)).squeeze(1)
    # expm1, because for small q the power is next to 1 and a difference would lose its digits
    return -log_prob if q < _ALMOST_ZERO else -(q * log_prob).expm1() / q
