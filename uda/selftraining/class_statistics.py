"""What is known of the features of each class: mean, variance, and a memory of means."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uda.processes import summed


class ClassStatistics(nn.Module):
    """Mean and variance of the features of each class, over all pixels seen so far.

    With n pixels in a batch, N before it and `w = n / (n + N)`, for each class:

        variance <- (1 - w) variance + w var + w (1 - w) (mean - m)^2
        mean     <- (1 - w) mean + w m

    m and var being those of the batch, of all processes (Xie et al., SePiCo, arXiv 2204.08808;
    released code: `proto_estimator.py`). That is the mean and the population variance of all
    pixels in one. All of it is saved.

    Args:
        num_classes: K.
        size: Length C of a feature.

    >>> statistics = ClassStatistics(num_classes=2, size=1)
    >>> _ = statistics.update(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))
    >>> statistics.means.tolist(), statistics.variances.tolist()
    ([[2.0], [0.0]], [[1.0], [0.0]])
    """

    means: Tensor
    variances: Tensor
    amount: Tensor

    def __init__(self, *, num_classes: int, size: int) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(num_classes, size))
        self.register_buffer("variances", torch.zeros(num_classes, size))
        self.register_buffer("amount", torch.zeros(num_classes, dtype=torch.int64))

    @property
    def seen(self) -> Tensor:
        """(K,) bool: the classes of which there was a pixel."""
        return self.amount > 0

    @torch.no_grad()
    def update(self, features: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Take the pixels of a batch into account.

        Args:
            features: (P, C) float.
            label: (P,) int64; what is no class, such as 255, does not count.

        Returns:
            The mean of each class in the batch, (K, C), and (K,) bool, which classes it has.
        """
        features = features.detach().to(self.means.dtype)
        member = one_hot(label, len(self.means)).to(features.dtype)
        count = summed(member.sum(0))
        number = count.clamp(min=1).unsqueeze(1)
        means = summed(member.T @ features) / number
        # Of a pixel without a class, whose row of `member` is 0, it is the square itself.
        squares = (features - member @ means).square()
        variances = summed(member.T @ squares) / number
        new = (count / (count + self.amount).clamp(min=1)).unsqueeze(1)
        apart = new * (1 - new) * (self.means - means).square()
        self.variances.copy_((1 - new) * self.variances + new * variances + apart)
        self.means.copy_((1 - new) * self.means + new * means)
        self.amount += count.to(torch.int64)
        return means, count > 0


class ClassBank(nn.Module):
    """The last means of each class, one a batch in which it occurs. All of it is saved.

    Args:
        num_classes: K.
        size: Length C of a mean.
        length: M, how many are kept of each class.
        start: Whether each class has a mean of 0 at first, which the first M others push out, as
            in the released code of SePiCo.

    Raises:
        ValueError: `length` is below 1.
    """

    entries: Tensor
    filled: Tensor

    def __init__(self, *, num_classes: int, size: int, length: int, start: bool = False) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"A bank holds at least 1 mean a class, not {length}.")
        self.register_buffer("entries", torch.zeros(num_classes, length, size))
        self.register_buffer("filled", torch.zeros(num_classes, length, dtype=torch.bool))
        self.filled[:, 0] = start

    @torch.no_grad()
    def add(self, means: Tensor, present: Tensor) -> None:
        """Put in the means (K, C) of the classes that are `present`, (K,) bool; newest first."""
        entries = torch.cat([means.unsqueeze(1).to(self.entries.dtype), self.entries[:, :-1]], 1)
        filled = torch.cat([present.unsqueeze(1), self.filled[:, :-1]], 1)
        self.entries.copy_(torch.where(present.view(-1, 1, 1), entries, self.entries))
        self.filled.copy_(torch.where(present.unsqueeze(1), filled, self.filled))


def one_hot(label: Tensor, num_classes: int) -> Tensor:
    """(P, K) int64 of labels (P,), a row of zeros for what is no class.

    >>> one_hot(torch.tensor([1, 255]), 2).tolist()
    [[0, 1], [0, 0]]
    """
    return (label.unsqueeze(1) == torch.arange(num_classes, device=label.device)).long()
