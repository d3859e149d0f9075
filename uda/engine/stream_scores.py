"""What is recorded of a stream: scores by visit and of the last images, curves, pictures."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from uda.evaluation import confusion_matrix, iou_from_matrix, mean_iou

Item = TypeVar("Item")


class Thinning(Generic[Item]):
    """Evenly spaced items of a stream whose length nobody knows, at most `most` of them.

    Every `step`-th item is kept; when there are too many, every second one goes and the step
    doubles.

    >>> kept = Thinning(4)
    >>> for number in range(10):
    ...     if kept.wanted(number):
    ...         kept.add(number, str(number))
    >>> kept.items
    ['0', '4', '8']
    """

    def __init__(self, most: int) -> None:
        self.most, self.step = max(2, most), 1
        self._kept: list[tuple[int, Item]] = []

    @property
    def items(self) -> list[Item]:
        """What is kept, in order."""
        return [item for _, item in self._kept]

    def wanted(self, number: int) -> bool:
        """Whether an item of this number would be kept."""
        return number % self.step == 0

    def add(self, number: int, item: Item) -> None:
        """Keep an item that is wanted."""
        self._kept.append((number, item))
        if len(self._kept) > self.most:
            self.step *= 2
            self._kept = [pair for pair in self._kept if pair[0] % self.step == 0]


class StreamScores:
    """Confusion matrices of a stream, as a whole, by visit to a domain, and of the last images.

    Args:
        classes: Names.
        window: Images of the running score.
    """

    def __init__(self, classes: Sequence[str], *, window: int = 50) -> None:
        self.classes = list(classes)
        self.recent: deque[Tensor] = deque(maxlen=window)
        self.visits: list[dict[str, Any]] = []
        self._matrices: list[Tensor] = []

    def begin(self, domain: str, round_number: int) -> None:
        """A new visit: what follows is counted there."""
        self.visits.append({"domain": domain, "round": round_number, "images": 0})
        count = len(self.classes)
        self._matrices.append(torch.zeros(count, count, dtype=torch.int64))

    def add(self, prediction: Tensor, label: Tensor | None) -> None:
        """Count an image: maps (H, W); without a label it is only counted."""
        self.visits[-1]["images"] += 1
        if label is not None:
            matrix = confusion_matrix(prediction, label.to(prediction.device), len(self.classes))
            self._matrices[-1] += matrix.cpu()
            self.recent.append(matrix.cpu())

    @property
    def running(self) -> float | None:
        """The mIoU in percent of the last images."""
        return _percent(torch.stack(tuple(self.recent)).sum(0)) if self.recent else None

    def summary(self, *, labelled: bool) -> dict[str, Any]:
        """`images`, `mIoU`, `IoU` by class, and the same for each visit; None without labels."""
        visits = [
            {**visit, **self._scores(matrix, labelled=labelled)}
            for visit, matrix in zip(self.visits, self._matrices, strict=True)
        ]
        total = torch.stack(self._matrices).sum(0) if self._matrices else None
        return {
            "images": sum(visit["images"] for visit in self.visits),
            **self._scores(total, labelled=labelled and total is not None),
            "visits": visits,
        }

    def _scores(self, matrix: Tensor | None, *, labelled: bool) -> dict[str, Any]:
        if matrix is None or not labelled:
            return {"mIoU": None, "IoU": None}
        iou = [_rounded(100 * value) for value in iou_from_matrix(matrix).tolist()]
        return {"mIoU": _percent(matrix), "IoU": dict(zip(self.classes, iou, strict=True))}


def _percent(matrix: Tensor) -> float | None:
    return _rounded(100 * mean_iou(matrix).value)


def _rounded(value: float) -> float | None:
    """Two digits, as `SegmentationMetric` has it; None for a class or set that is absent."""
    return None if value != value else round(value, 2)
