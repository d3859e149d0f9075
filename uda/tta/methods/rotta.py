"""RoTTA: robust statistics, a memory balanced by class and age, and a slow teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uda.losses import entropy_map, soft_cross_entropy
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.memory import BalancedMemory
from uda.tta.method import Method
from uda.tta.restore import follow
from uda.tta.statistics import Statistics
from uda.tta.views import RandomView, View


class RoTTA(Method):
    """Learns from a memory of images that are of all classes, recent and sure, by a slow teacher.

    Yuan et al., "Robust Test-Time Adaptation in Dynamic Scenarios", CVPR 2023. Statistics are
    `Statistics("robust")`. Every `interval` images the student learns, on a strong view of the
    memory, the teacher's probabilities; an image of age a counts `e^-a / (1 + e^-a)`. Predictions
    are the teacher's, by stored statistics, so that single images are safe. An image of a dense
    prediction enters the memory under the class that most of its pixels have.

    Args:
        capacity: Images in the memory.
        interval: Images between two updates.
        decay: Share of the old teacher kept.
        age_weight: Of the age in the score by which the memory drops images.
        entropy_weight: Of the entropy in that score.
        view: Makes the strong view; None: `RandomView()`, which supposes ImageNet's normalisation,
            for dense predictions without its geometry, so that pixels and targets stay together.

    Raises:
        ValueError: An argument is out of range.
    """

    needs: ClassVar[str] = "norm"
    teacher: nn.Module

    def __init__(
        self,
        *,
        capacity: int = 64,
        interval: int = 64,
        decay: float = 0.999,
        age_weight: float = 1.0,
        entropy_weight: float = 1.0,
        view: View | None = None,
    ) -> None:
        super().__init__()
        if min(capacity, interval) < 1:
            raise ValueError("capacity and interval are numbers of images, at least 1.")
        if not 0 <= decay <= 1:
            raise ValueError(f"decay has to lie in [0, 1], not {decay}.")
        self.capacity, self.interval, self.decay = capacity, interval, decay
        self.age_weight, self.entropy_weight = age_weight, entropy_weight
        self.view = view
        self.bank: BalancedMemory | None = None
        self.seen = 0

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """Adam 1e-3."""
        return OptimiserSettings("adam", lr=1e-3)

    def statistics(self, *, dense: bool) -> Statistics:
        """Those that follow the stream slowly."""
        return Statistics("robust", momentum=0.05)

    def attach(self, network: nn.Module) -> None:
        """The teacher starts as the source."""
        self.teacher = copy.deepcopy(network).requires_grad_(False)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """Predict by the teacher, remember the images, update when it is time.

        Raises:
            ValueError: `valid` is a mask of pixels: the memory holds whole images.
        """
        logits = learner.teach(self.teacher, image, update=False)
        if valid is not None and logits.ndim > 2:
            raise ValueError(
                "RoTTA learns from a memory of whole images and cannot leave out pixels; use "
                "another method where parts of an image must teach nothing."
            )
        bank = self._bank(logits.shape[1])
        entropy = entropy_map(logits).flatten(1).mean(1) if logits.ndim > 2 else entropy_map(logits)
        classes = logits.argmax(1).flatten(1) if logits.ndim > 2 else logits.argmax(1, keepdim=True)
        classes = classes.mode(1).values
        keep = [True] * len(image) if valid is None else valid.tolist()
        items = zip(image, classes.tolist(), entropy.tolist(), keep, strict=True)
        for single, label, unsure, kept in items:
            if not kept:
                continue
            bank.add(single.detach().clone(), label, unsure)
            self.seen += 1
            if self.seen % self.interval == 0:
                self._update(learner, bank)
        return logits

    def _update(self, learner: Learner, bank: BalancedMemory) -> None:
        images, ages = bank.batch()
        target = learner.teach(self.teacher, images)
        view = self.view or RandomView(geometry=target.ndim == 2)
        logits = learner.forward(view(images, learner.generator))
        weight = timeliness(torch.tensor(ages, dtype=logits.dtype)).to(logits.device)
        losses = (
            soft_cross_entropy(logits, target.softmax(1)).flatten(1)
            if logits.ndim > 2
            else (soft_cross_entropy(logits, target.softmax(1)).unsqueeze(1))
        )
        if learner.minimise((losses.mean(1) * weight).mean()):
            follow(self.teacher, learner.parameters, self.decay)

    def _bank(self, classes: int) -> BalancedMemory:
        if self.bank is None:
            self.bank = BalancedMemory(
                self.capacity,
                classes,
                age_weight=self.age_weight,
                entropy_weight=self.entropy_weight,
            )
        return self.bank

    def predict(self, learner: Learner, image: Tensor) -> Tensor:
        """The teacher's logits."""
        return learner.teach(self.teacher, image, update=False)

    def predictor(self, network: nn.Module) -> nn.Module:
        """The teacher."""
        return self.teacher

    def followers(self) -> dict[str, nn.Module]:
        """The teacher."""
        return {"teacher": self.teacher}

    def memory(self) -> dict[str, Any]:
        """Images of the memory with class, entropy and age, and the number of images seen."""
        return {"seen": self.seen, "bank": None if self.bank is None else self.bank.state()}

    def remember(self, memory: Mapping[str, Any]) -> None:
        """Take over what `memory` gave."""
        self.seen = memory["seen"]
        self.bank = None
        if memory["bank"] is not None:
            self.bank = self._bank(memory["bank"]["classes"])
            self.bank.load(memory["bank"])

    def forget(self) -> None:
        """Empty the memory."""
        self.bank, self.seen = None, 0


def timeliness(age: Tensor) -> Tensor:
    """The weight `e^-a / (1 + e^-a)` of an image of age a, in capacities of the memory.

    >>> timeliness(torch.tensor([0.0])).item()
    0.5
    """
    return torch.sigmoid(-age)
