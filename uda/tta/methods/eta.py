"""ETA: entropy minimisation over samples that are reliable and say something new."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.losses import entropy_map
from uda.tta.learner import Learner
from uda.tta.method import Method, updated_mean
from uda.tta.samples import Samples


class ActiveSelection:
    """Chooses samples of low entropy whose prediction differs from the mean of those before.

    Niu et al., "Efficient Test-Time Model Adaptation without Forgetting", ICML 2022, eqs. 2 to 5.

    Args:
        margin: Entropy below which a sample is reliable, as a share of log K.
        redundancy: Cosine to the running mean probability from which on a sample adds nothing;
            0.05 for ImageNet, 0.4 for 10 classes.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, *, margin: float = 0.4, redundancy: float = 0.05) -> None:
        if margin <= 0:
            raise ValueError(f"margin is a share of log K, above 0, not {margin}.")
        if not 0 < redundancy <= 1:
            raise ValueError(f"redundancy is a cosine in (0, 1], not {redundancy}.")
        self.margin, self.redundancy = margin, redundancy
        self.mean_probs: Tensor | None = None
        self.reliable = self.chosen = 0

    def loss(self, samples: Samples, logits: Tensor) -> Tensor | None:
        """The mean over kept samples of `H exp(E0 - H)`; None where none is kept."""
        logits = samples.of(logits)
        entropy, probs = entropy_map(logits), logits.detach().softmax(1)
        margin = self.margin * math.log(logits.shape[1])
        reliable = samples.kept(entropy < margin, entropy) > 0
        keep = reliable
        if self.mean_probs is not None:
            shape = [1, -1, *[1] * (probs.ndim - 2)]
            cosine = F.cosine_similarity(self.mean_probs.view(shape), probs, dim=1)
            keep = reliable & (cosine.abs() < self.redundancy)
        counts = torch.stack([reliable.sum(), keep.sum()]).tolist()
        self.reliable, self.chosen = self.reliable + counts[0], self.chosen + counts[1]
        if counts[1] == 0:
            return None
        self._follow(samples, probs, keep)
        return samples.mean(entropy * (margin - entropy.detach()).exp(), keep)

    def memory(self) -> dict[str, Any]:
        """Running mean probability and counts."""
        return {
            "mean_probs": self.mean_probs,
            "reliable": self.reliable,
            "chosen": self.chosen,
        }

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""
        self.mean_probs = memory["mean_probs"]
        self.reliable, self.chosen = memory["reliable"], memory["chosen"]

    def report(self) -> dict[str, Any]:
        """Samples that were reliable, and those of them that were learnt from."""
        return {"reliable": self.reliable, "chosen": self.chosen}

    def forget(self) -> None:
        """As before the first batch."""
        self.mean_probs = None

    def _follow(self, samples: Samples, probs: Tensor, keep: Tensor) -> None:
        weight = samples.kept(keep, probs[:, 0])
        summed = (probs * weight.unsqueeze(1)).movedim(1, 0).flatten(1).sum(1)
        self.mean_probs = updated_mean(self.mean_probs, summed / weight.sum())


class ETA(Method):
    """Entropy minimisation over active samples: EATA without its anti-forgetting term.

    Niu et al., ICML 2022. The released `reset` keeps the running mean probability; here it goes
    too.

    Args:
        margin: As a share of log K; samples of less entropy are reliable.
        redundancy: 0.05 for ImageNet, 0.4 for 10 classes.
    """

    def __init__(self, *, margin: float = 0.4, redundancy: float = 0.05) -> None:
        super().__init__()
        self.selection = ActiveSelection(margin=margin, redundancy=redundancy)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One update, if a sample is worth it; the logits are those of before it."""
        logits = learner.forward(image)
        loss = self.selection.loss(learner.select(logits, valid), logits)
        if loss is not None:
            learner.minimise(loss)
        return logits

    def memory(self) -> dict[str, Any]:
        """The selection's."""
        return self.selection.memory()

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""
        self.selection.remember(memory)

    def report(self) -> dict[str, Any]:
        """The selection's."""
        return self.selection.report()

    def forget(self) -> None:
        """Forget the running mean probability."""
        self.selection.forget()
