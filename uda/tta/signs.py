"""Signs without labels of how an adaptation does, batch by batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uda.tta.learner import Learner


@dataclass(frozen=True)
class Health:
    """Signs of one batch, or their moving averages; entropies as shares of log K.

    Attributes:
        entropy: Mean entropy of the adapted model's predictions.
        source_entropy: And of the unadapted model's.
        agreement: Share of samples on which both predict the same class.
        doubt: Mean of 1 - highest probability of the unadapted model.
        classes: Effective number of classes predicted, exp of the entropy of their shares.
        source_classes: And by the unadapted model.
        distance: Distance of the moving parameters from the source, relative to their length.
    """

    entropy: float
    source_entropy: float
    agreement: float
    doubt: float
    classes: float
    source_classes: float
    distance: float


@torch.no_grad()
def measure(
    logits: Tensor, source: Tensor, learner: Learner, valid: Tensor | None = None
) -> Tensor:
    """The signs of a batch that averages can be taken of, on the device: (5 + 2 K,).

    Entropies, agreement, doubt and distance, then the shares of classes predicted by both models,
    of which the numbers of classes follow once they are averaged.

    Args:
        logits: The adapted model's.
        source: The unadapted model's.
        learner: Whose parameters moved.
        valid: (N,) or (N, H, W) bool: the samples that count, at least one; None: all.
    """
    (adapted, log_adapted), (unadapted, log_unadapted) = (
        _rows(values, valid) for values in (logits, source)
    )
    scale = math.log(logits.shape[1]) if logits.shape[1] > 1 else 1.0
    signs = [
        -(adapted * log_adapted).sum(1).mean() / scale,
        -(unadapted * log_unadapted).sum(1).mean() / scale,
        (adapted.argmax(1) == unadapted.argmax(1)).to(adapted.dtype).mean(),
        1 - unadapted.amax(1).mean(),
        _distance(learner).to(adapted.dtype),
    ]
    shares = [_histogram(probs) for probs in (adapted, unadapted)]
    return torch.cat([torch.stack(signs), *shares]).double()


def shows_nothing(image: Tensor, valid: Tensor | None = None) -> bool:
    """Whether every channel of every image is constant, as with a covered lens, or none counts."""
    if valid is not None and not bool(valid.any()):
        return True
    if image.ndim < 3 or not image.is_floating_point():
        return False
    return bool(image.flatten(2).std(2, correction=0).amax() < 1e-4)


def health(signs: Tensor) -> Health:
    """Signs as numbers."""
    entropy, source_entropy, agreement, doubt, distance = signs[:5].tolist()
    means = signs[5:].view(2, -1)
    classes = (-(means * means.clamp(min=1e-30).log()).sum(1)).exp().tolist()
    return Health(entropy, source_entropy, agreement, doubt, classes[0], classes[1], distance)


def _rows(logits: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Probabilities and their logarithms of at most some 16,000 samples."""
    rows = logits.movedim(1, -1).reshape(-1, logits.shape[1])
    if valid is not None:
        rows = rows[valid.reshape(-1)]
    rows = rows[:: max(1, len(rows) // 16384)]
    log_probs = rows.log_softmax(1)
    return log_probs.exp(), log_probs


def _histogram(probs: Tensor) -> Tensor:
    """The share of samples (K,) that is predicted as each class."""
    counts = torch.bincount(probs.argmax(1), minlength=probs.shape[1])
    return counts.to(probs.dtype) / len(probs)


def _distance(learner: Learner) -> Tensor:
    """How far what moves has gone, relative to its length at the source."""
    names = list(learner.parameters)
    if not names:
        return torch.zeros((), device=learner.device)
    now = [learner.parameters[name].detach() for name in names]
    then = [learner.source[name] for name in names]
    difference = torch._foreach_sub(now, then)
    lengths = [torch.nn.utils.get_total_norm(tensors) for tensors in (difference, then)]
    return lengths[0] / lengths[1].clamp(min=1e-12)
