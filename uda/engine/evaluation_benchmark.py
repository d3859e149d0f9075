"""Scoring: mmseg's way and ours on the same logits and labels, with equal numbers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmseg.evaluation import IoUMetric
from torch import Tensor

from uda.evaluation import SegmentationMetric
from uda.evaluation.class_maps import ClassMaps
from uda.evaluation.confusion import confusion_matrix

# Wall and processor seconds.
Seconds = tuple[float, float]


@dataclass(frozen=True)
class ScoringTimes:
    """What one part of scoring costs an image.

    Attributes:
        part: ``"classes"``: logits resized and their argmax; ``"counts"``: one confusion matrix of
            int64 maps; ``"counts, 8 bits"``: of 8-bit maps; ``"metric"``: the metric as a whole,
            from samples of several images to scores.
        theirs_ms: Median milliseconds of mmseg's way, wall.
        ours_ms: Of ours.
        theirs_cpu_ms: Median processor milliseconds of mmseg's way, of all threads.
        ours_cpu_ms: Of ours.
        ratio: Speed of ours over mmseg's by wall time: the median of the ratios of each repeat.
        cpu_ratio: The same by processor time.
    """

    part: str
    theirs_ms: float
    ours_ms: float
    theirs_cpu_ms: float
    ours_cpu_ms: float
    ratio: float
    cpu_ratio: float

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


def time_scoring(
    *,
    size: tuple[int, int] = (1024, 2048),
    logits: tuple[int, int] = (128, 256),
    num_classes: int = 19,
    images: int = 4,
    repeats: int = 9,
) -> list[ScoringTimes]:
    """Time the parts of scoring on random logits, mmseg's way and ours in turn.

    Before anything is timed, both have to give equal numbers, to the bit.

    Args:
        size: (height, width) of labels in pixels.
        logits: (height, width) of what the network gives.
        num_classes: K, at least 2.
        images: Of the metric as a whole.
        repeats: How often, after one that does not count.

    Raises:
        ArithmeticError: The numbers differ.
    """
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(1, num_classes, *logits, generator=generator)
    prediction = _plain(scores, size)[0]
    label = torch.where(
        torch.rand(size, generator=generator) < 0.7,
        prediction,
        torch.randint(num_classes, size, generator=generator),
    )
    label[: size[0] // 10] = 255
    narrow = prediction.to(torch.uint8), label.to(torch.uint8)
    maps = ClassMaps()
    samples = [_sample(prediction, label.roll(n, 0)) for n in range(images)]
    _check(scores, size, maps, prediction, label, samples, num_classes)

    def areas(one: Tensor, other: Tensor) -> Any:
        return IoUMetric.intersect_and_union(one, other, num_classes, 255)

    ways: dict[str, tuple[Callable[[], Any], Callable[[], Any], int]] = {
        "classes": (lambda: _plain(scores, size), lambda: maps(scores, size), 1),
        "counts": (
            lambda: areas(prediction, label),
            lambda: confusion_matrix(prediction, label, num_classes),
            1,
        ),
        "counts, 8 bits": (
            lambda: areas(*narrow),
            lambda: confusion_matrix(*narrow, num_classes),
            1,
        ),
        "metric": (
            lambda: _scored(_theirs(num_classes), samples),
            lambda: _scored(_ours(num_classes), samples),
            images,
        ),
    }
    return [_times(part, *way, repeats=repeats) for part, way in ways.items()]


def _plain(scores: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(scores, size, mode="bilinear", align_corners=False).argmax(1)


def _sample(prediction: Tensor, label: Tensor) -> dict[str, Any]:
    return {"pred_sem_seg": {"data": prediction[None]}, "gt_sem_seg": {"data": label[None]}}


def _theirs(num_classes: int) -> IoUMetric:
    metric = IoUMetric(ignore_index=255, prefix="")
    metric.dataset_meta = {"classes": _names(num_classes)}
    return metric


def _ours(num_classes: int) -> SegmentationMetric:
    metric = SegmentationMetric()
    metric.dataset_meta = {"classes": _names(num_classes)}
    return metric


def _names(num_classes: int) -> list[str]:
    return [f"class {number}" for number in range(num_classes)]


def _scored(metric: Any, samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    metric.process({}, samples)
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")  # both print a table
    try:
        scores: dict[str, float] = metric.evaluate(len(samples))
    finally:
        logger.setLevel(level)
    return scores


def _check(
    scores: Tensor,
    size: tuple[int, int],
    maps: ClassMaps,
    prediction: Tensor,
    label: Tensor,
    samples: Sequence[dict[str, Any]],
    num_classes: int,
) -> None:
    """Refuse to time ways that do not give the same."""
    if not torch.equal(maps(scores, size)[0], prediction):
        raise ArithmeticError("resizing and argmax in stripes differ from torch's")
    matrix = confusion_matrix(prediction, label, num_classes)
    hits, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    areas = IoUMetric.intersect_and_union(prediction, label, num_classes, 255)
    ours = (hits, rows + columns - hits, columns, rows)
    for name, mine, theirs in zip(("hits", "union", "predicted", "true"), ours, areas, strict=True):
        if not torch.equal(mine.double(), theirs.double()):
            raise ArithmeticError(f"{name} pixels of a class differ from mmseg's")
    theirs_scores, scores_of_ours = (
        _scored(make(num_classes), samples) for make in (_theirs, _ours)
    )
    for name in ("mIoU", "mAcc", "aAcc"):
        if round(float(theirs_scores[name]), 2) != scores_of_ours[f"student/{name}"]:
            raise ArithmeticError(f"{name} differs from mmseg's")


def _times(
    part: str, theirs: Callable[[], Any], ours: Callable[[], Any], images: int, *, repeats: int
) -> ScoringTimes:
    times: dict[bool, list[Seconds]] = {True: [], False: []}
    for repeat in range(repeats + 1):
        for is_ours in (repeat % 2 == 0, repeat % 2 == 1):
            begun = time.perf_counter(), time.process_time()
            (ours if is_ours else theirs)()
            passed = time.perf_counter() - begun[0], time.process_time() - begun[1]
            if repeat:
                times[is_ours].append(passed)
    wall, cpu = (
        [1000 * statistics.median(t[kind] for t in times[is_ours]) / images for is_ours in times]
        for kind in (0, 1)
    )
    ratio, cpu_ratio = np.median(np.array(times[False]) / np.array(times[True]), axis=0).tolist()
    return ScoringTimes(part, wall[1], wall[0], cpu[1], cpu[0], ratio, cpu_ratio)
