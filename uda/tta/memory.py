"""A small memory of test images, balanced by predicted class, age and uncertainty."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Remembered:
    """One image.

    Attributes:
        image: (C, H, W).
        entropy: Of its prediction when it came, in nats.
        age: Images that came after it.
        valid: (H, W) bool, where it may be learnt from; None: everywhere.
    """

    image: Tensor
    entropy: float
    age: int = 0
    valid: Tensor | None = None


class BalancedMemory:
    """Category-balanced sampling with timeliness and uncertainty (RoTTA, CVPR 2023, section 3.3).

    Each class has a quota of capacity / K. An image whose class has room, in a memory with room, is
    taken. Otherwise it takes the place of the image with the highest score, among its own class
    where that is full, else among the largest classes, if that score is higher than its own. The
    score is `w_t / (1 + e^(-age / capacity)) + w_u H / log K`.

    Args:
        capacity: Images at most.
        classes: K.
        age_weight: w_t.
        entropy_weight: w_u.
    """

    def __init__(
        self,
        capacity: int,
        classes: int,
        *,
        age_weight: float = 1.0,
        entropy_weight: float = 1.0,
    ) -> None:
        self.capacity, self.classes = capacity, classes
        self.age_weight, self.entropy_weight = age_weight, entropy_weight
        self.of_class: list[list[Remembered]] = [[] for _ in range(classes)]

    def __len__(self) -> int:
        return sum(len(items) for items in self.of_class)

    def add(self, image: Tensor, label: int, entropy: float, valid: Tensor | None = None) -> bool:
        """Offer an image; whether it was taken. All others get older by one, it too."""
        taken = self._make_room(label, self.score(0, entropy))
        if taken:
            self.of_class[label].append(Remembered(image, entropy, valid=valid))
        for items in self.of_class:
            for item in items:
                item.age += 1
        return taken

    def score(self, age: int, entropy: float) -> float:
        """How much an image deserves to go."""
        timely = self.age_weight / (1 + math.exp(-age / self.capacity))
        scale = math.log(self.classes) if self.classes > 1 else 1.0
        return timely + self.entropy_weight * entropy / scale

    def batch(self) -> tuple[Tensor, list[float]]:
        """All images (N, C, H, W), class by class, and their ages in capacities.

        Raises:
            ValueError: Images are of several sizes.
        """
        items = [item for items in self.of_class for item in items]
        shapes = {tuple(item.image.shape) for item in items}
        if len(shapes) > 1:
            raise ValueError(
                f"The memory of rotta holds images of several sizes: {sorted(shapes)}; give all "
                "images of a stream the same size."
            )
        return torch.stack([item.image for item in items]), [i.age / self.capacity for i in items]

    def masks(self) -> list[Tensor | None]:
        """Where each image of `batch` may be learnt from."""
        return [item.valid for items in self.of_class for item in items]

    def state(self) -> dict[str, Any]:
        """Everything, as tensors, numbers and lists."""
        items = [
            [(item.image, item.entropy, item.age, item.valid) for item in items]
            for items in self.of_class
        ]
        return {"classes": self.classes, "items": items}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self.of_class = [[Remembered(*item) for item in items] for items in state["items"]]

    def _make_room(self, label: int, score: float) -> bool:
        if len(self.of_class[label]) >= self.capacity / self.classes:
            return self._drop([label], score)
        if len(self) < self.capacity:
            return True
        most = max(len(items) for items in self.of_class)
        return self._drop([k for k, items in enumerate(self.of_class) if len(items) == most], score)

    def _drop(self, labels: Sequence[int], score: float) -> bool:
        """Drop the image of highest score if that is above `score`; the later one of equals."""
        worst: tuple[float, int, int] | None = None
        for label in labels:
            for place, item in enumerate(self.of_class[label]):
                found = self.score(item.age, item.entropy)
                if worst is None or found >= worst[0]:
                    worst = (found, label, place)
        if worst is None:
            return True
        if worst[0] <= score:
            return False
        del self.of_class[worst[1]][worst[2]]
        return True
