"""EATA: ETA with a penalty on moving what the source needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.tta.learner import Learner
from uda.tta.method import Method
from uda.tta.methods.eta import ActiveSelection


class EATA(Method):
    """Entropy minimisation over active samples plus `a sum_i F_i (theta_i - theta0_i)^2`.

    Niu et al., ICML 2022, eqs. 2 to 9. F is the diagonal Fisher information on source images:
    squares of the mean gradient of the cross-entropy with the model's own labels, a batch at a
    time. 500 images are enough (the author, in the project's issue 3); they need no labels.

    Args:
        source_batches: Images (N, C, H, W) of the source domain; read once, at the first batch.
        weight: a; 2000 for ImageNet, 1 for CIFAR.
        margin: As a share of log K; samples of less entropy are reliable.
        redundancy: 0.05 for ImageNet, 0.4 for 10 classes.

    Raises:
        ValueError: An argument is out of range, or there are no source images.
    """

    def __init__(
        self,
        *,
        source_batches: Iterable[Tensor] | None = None,
        weight: float = 2000.0,
        margin: float = 0.4,
        redundancy: float = 0.05,
    ) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight has to be at least 0, not {weight}.")
        self.source_batches, self.weight = source_batches, weight
        self.selection = ActiveSelection(margin=margin, redundancy=redundancy)
        self.fisher: dict[str, Tensor] = {}

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One update, if a sample is worth it; the logits are those of before it."""
        if not self.fisher:
            with learner.at_source():
                self.fisher = fisher_information(learner, self._source())
        logits = learner.forward(image)
        loss = self.selection.loss(learner.select(logits, valid), logits)
        if loss is not None:
            learner.minimise(loss + self.weight * self._distance(learner))
        return logits

    def memory(self) -> dict[str, Any]:
        """The selection's, and the Fisher information."""
        return {**self.selection.memory(), "fisher": dict(self.fisher)}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""
        self.selection.remember(memory)
        # A state from before the first batch has none; the source's does not change.
        self.fisher = dict(memory["fisher"]) or self.fisher

    def forget(self) -> None:
        """Forget the running mean probability; the source stays the source."""
        self.selection.forget()

    def _source(self) -> Iterable[Tensor]:
        if self.source_batches is None:
            raise ValueError(
                "eata needs images of the source for its Fisher information: give "
                'source_batches=[...] (500 images without labels are enough), or use "eta".'
            )
        return self.source_batches

    def _distance(self, learner: Learner) -> Tensor:
        terms = [
            (self.fisher[name] * (parameter - learner.source[name]) ** 2).sum()
            for name, parameter in learner.parameters.items()
            if name in self.fisher
        ]
        return torch.stack(terms).sum()


def fisher_information(learner: Learner, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """The mean over batches of squared mean gradients, by name of parameter.

    Args:
        learner: Its student is at the source.
        batches: Source images.

    Raises:
        ValueError: There is no batch.
    """
    sums: dict[str, Tensor] = {}
    count = 0
    for image in batches:
        count += 1
        learner.zero_grad()
        # Stored statistics stay: here they are the source's own tensors.
        with learner.statistics.applied(learner.network, update=False):
            logits = learner.run(learner.network, image.to(learner.device))
        learner.counts.backward += 1
        F.cross_entropy(logits, logits.detach().argmax(1)).backward()
        for name, parameter in learner.parameters.items():
            if parameter.grad is not None:
                sums[name] = sums.get(name, 0) + parameter.grad.detach() ** 2
    learner.zero_grad()
    if count == 0:
        raise ValueError("source_batches of eata is empty; give at least one batch of images.")
    return {name: total / count for name, total in sums.items()}
