"""RoTTA: robust statistics, a memory balanced by class and age, and a slow teacher."""

from __future__ import annotations

import copy
import dataclasses
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

    The released code learns from the whole memory in one pass, which is too much for 64 maps. In
    parts of `micro_batch` images, each with a view of its own, gradients add up to that of the
    whole memory, and the statistics follow in smaller steps that make `momentum` together.

    Args:
        capacity: Images in the memory.
        interval: Images between two updates.
        decay: Share of the old teacher kept.
        age_weight: Of the age in the score by which the memory drops images.
        entropy_weight: Of the entropy in that score.
        view: Makes the strong view; None: `RandomView()`, which supposes ImageNet's normalisation,
            for dense predictions without its geometry, so that pixels and targets stay together.
        micro_batch: Images in one forward and backward pass of an update; None: all of a
            classifier (reference), one of dense predictions.

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
        micro_batch: int | None = None,
    ) -> None:
        super().__init__()
        if min(capacity, interval, micro_batch or 1) < 1 or micro_batch == 0:
            raise ValueError(
                "capacity, interval and micro_batch are numbers of images, at least 1."
            )
        if not 0 <= decay <= 1:
            raise ValueError(f"decay has to lie in [0, 1], not {decay}.")
        self.capacity, self.interval, self.decay = capacity, interval, decay
        self.age_weight, self.entropy_weight = age_weight, entropy_weight
        self.view, self.micro_batch = view, micro_batch
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

        Pixels that are not valid count neither for the memory nor in a loss; images without a
        valid pixel are not remembered.
        """
        logits = learner.teach(self.teacher, image, update=False)
        if valid is not None:
            learner.select(logits, valid)  # refuses a mask of another shape
        bank = self._bank(logits.shape[1])
        mask = None if valid is None else valid.flatten(1) if logits.ndim > 2 else valid[:, None]
        entropy = masked_means(entropy_map(logits).reshape(len(image), -1), mask)
        classes = most_frequent(logits.argmax(1).reshape(len(image), -1), mask, logits.shape[1])
        keep = [True] * len(image) if mask is None else mask.any(1).tolist()
        masks = [None] * len(image) if valid is None or logits.ndim == 2 else list(valid.clone())
        items = zip(image, classes.tolist(), entropy.tolist(), keep, masks, strict=True)
        for single, label, unsure, kept, pixels in items:
            if not kept:
                continue
            bank.add(single.detach().clone(), label, unsure, pixels)
            self.seen += 1
            if self.seen % self.interval == 0:
                self._update(learner, bank)
        return logits

    def _update(self, learner: Learner, bank: BalancedMemory) -> None:
        images, ages = bank.batch()
        masks = bank.masks()
        size = self.micro_batch or (1 if learner.dense else len(images))
        view = self.view or RandomView(geometry=not learner.dense)
        statistics = stepped(learner.statistics, -(-len(images) // size))
        learner.zero_grad()
        for start in range(0, len(images), size):
            part = slice(start, start + size)
            target = learner.teach(self.teacher, images[part], statistics=statistics)
            logits = learner.forward(view(images[part], learner.generator), statistics=statistics)
            losses = soft_cross_entropy(logits, target.softmax(1)).reshape(len(logits), -1)
            weight = timeliness(torch.tensor(ages[part], dtype=logits.dtype)).to(logits.device)
            losses = masked_means(losses, stacked(masks[part], losses)) * weight
            if not learner.backward(losses.sum() / len(images)):
                learner.zero_grad()
                return
        if learner.step():
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


def stepped(statistics: Statistics, parts: int) -> Statistics:
    """Robust statistics whose steps over so many parts of a batch make one step together.

    >>> stepped(Statistics("robust", momentum=0.75), 2).momentum
    0.5
    """
    if statistics.kind != "robust" or parts == 1:
        return statistics
    momentum = 1 - (1 - statistics.momentum) ** (1 / parts)
    return dataclasses.replace(statistics, momentum=momentum)


def masked_means(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each row of (N, P) where `mask` is True; 0 where it nowhere is.

    >>> masked_means(torch.tensor([[1.0, 3.0]]), torch.tensor([[True, False]])).tolist()
    [1.0]
    """
    if mask is None:
        return values.mean(1)
    return torch.where(mask, values, 0.0).sum(1) / mask.sum(1).clamp(min=1)


def most_frequent(labels: Tensor, mask: Tensor | None, classes: int) -> Tensor:
    """The class (N,) that most samples of each row (N, P) have, where `mask` is True.

    >>> most_frequent(torch.tensor([[2, 2, 1]]), torch.tensor([[False, False, True]]), 3).tolist()
    [1]
    """
    if mask is None:
        return labels.mode(1).values
    counts = torch.zeros(len(labels), classes, dtype=torch.int64, device=labels.device)
    return counts.scatter_add(1, labels, mask.to(torch.int64)).argmax(1)


def stacked(masks: list[Tensor | None], like: Tensor) -> Tensor | None:
    """Masks as rows of the shape of `like`; None where all is valid."""
    if all(mask is None for mask in masks):
        return None
    whole = torch.ones(like.shape[1], dtype=torch.bool, device=like.device)
    return torch.stack([whole if mask is None else mask.flatten() for mask in masks])


def timeliness(age: Tensor) -> Tensor:
    """The weight `e^-a / (1 + e^-a)` of an image of age a, in capacities of the memory.

    >>> timeliness(torch.tensor([0.0])).item()
    0.5
    """
    return torch.sigmoid(-age)
