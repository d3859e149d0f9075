"""Confusion matrices: equal to counting, in any order and pieces, for any classes asked for."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.evaluation import SegmentationMetric
from uda.evaluation.confusion import ConfusionMatrix, confusion_matrix, iou_from_matrix, mean_iou
from uda.evaluation.metric import network_scores
from uda.evaluation.subsets import CITYSCAPES_CLASSES, class_subset

from .bounded import bounded

TYPES = st.sampled_from([torch.uint8, torch.int16, torch.int32, torch.int64])


@st.composite
def maps(draw: Any) -> tuple[int, torch.Tensor, torch.Tensor]:
    """A number of classes, predictions and labels (n,), 255 among the labels."""
    classes = draw(st.integers(1, 25))
    ids = st.integers(0, classes - 1)
    label = draw(st.lists(ids | st.just(255), max_size=80))
    prediction = draw(st.lists(ids, min_size=len(label), max_size=len(label)))
    return (
        classes,
        torch.tensor(prediction, dtype=torch.int64).to(draw(TYPES)),
        torch.tensor(label, dtype=torch.int64).to(draw(TYPES)),
    )


@bounded(120)
@given(drawn=maps(), cuts=st.lists(st.integers(0, 80), max_size=5), random=st.randoms())
def test_matrix_properties(
    drawn: tuple[int, torch.Tensor, torch.Tensor], cuts: list[int], random: Any
) -> None:
    """The naive count, from the whole and from any pieces merged in any order; int64."""
    classes, prediction, label = drawn
    wanted = [[0] * classes for _ in range(classes)]
    for true, predicted in zip(label.tolist(), prediction.tolist(), strict=True):
        if true != 255:
            wanted[true][predicted] += 1
    whole = confusion_matrix(prediction, label, classes)
    assert whole.dtype == torch.int64
    assert whole.tolist() == wanted
    pieces = []
    for start, end in pairwise([0, *sorted(min(cut, len(label)) for cut in cuts), len(label)]):
        pieces.append(ConfusionMatrix(classes).update(prediction[start:end], label[start:end]))
    random.shuffle(pieces)
    while len(pieces) > 1:
        first = pieces.pop(random.randrange(len(pieces)))
        other = random.randrange(len(pieces))
        pieces[other] = (
            first + pieces[other] if random.random() < 0.5 else first.merge(pieces[other])
        )
    assert pieces[0].matrix.dtype == torch.int64
    assert torch.equal(pieces[0].matrix, whole)


@bounded(100)
@given(drawn=maps(), value=st.integers(-300, 70_000), which=st.booleans())
def test_ids_outside_are_never_counted_properties(
    drawn: tuple[int, torch.Tensor, torch.Tensor], value: int, which: bool
) -> None:
    """One id out of range, in either map: an error that names it."""
    classes, prediction, label = (part if isinstance(part, int) else part.long() for part in drawn)
    allowed = 0 <= value < classes or (which and value == 255)
    maps_with = [torch.cat([part, torch.tensor([0])]) for part in (prediction, label)]
    maps_with[int(which)][-1] = value
    if allowed:
        assert confusion_matrix(*maps_with, classes).sum() == (maps_with[1] != 255).sum()
        return
    with pytest.raises(ValueError, match=f"{('prediction', 'label')[which]} must .*: .*{value} "):
        confusion_matrix(*maps_with, classes)


@bounded(100)
@given(
    counts=st.lists(st.integers(0, 5) | st.integers(0, 10**12), min_size=36, max_size=36),
    chosen=st.lists(st.integers(0, 5), min_size=1, max_size=6, unique=True),
    absent=st.sets(st.integers(0, 5)),
)
def test_subset_properties(counts: list[int], chosen: list[int], absent: set[int]) -> None:
    """A subset's mean is that of its classes' IoUs from the full matrix, in exact arithmetic."""
    matrix = np.array(counts, dtype=np.int64).reshape(6, 6)
    matrix[sorted(absent)] = 0
    matrix[:, sorted(absent)] = 0
    full = torch.from_numpy(matrix)
    unions = [int(matrix[k].sum() + matrix[:, k].sum() - matrix[k, k]) for k in range(6)]
    found = mean_iou(full, chosen)
    present = [k for k in chosen if unions[k]]
    assert found.absent == tuple(k for k in chosen if not unions[k])
    if not present:
        assert math.isnan(found.value)
    else:
        ious = [int(matrix[k, k]) / unions[k] for k in present]
        assert found.value == pytest.approx(math.fsum(ious) / len(ious), rel=1e-12)
        assert 0 <= found.value <= 1
    names = [f"class {k}" for k in range(6)]
    scores = network_scores(full, names, {"own": chosen, "all": list(range(6))})
    assert scores.get("mIoUall") == scores.get("mIoU")
    assert all(f"IoU.{names[k]}" in scores for k in present)
    assert torch.equal(
        iou_from_matrix(full)[chosen].isnan(), torch.tensor([k not in present for k in chosen])
    )


@bounded(60)
@given(order=st.permutations(list(CITYSCAPES_CLASSES)), name=st.sampled_from([19, 16, 13]))
def test_named_subset_of_any_order_properties(order: list[str], name: int) -> None:
    """A named subset means the same classes in whatever order a data set lists them."""
    wanted = {CITYSCAPES_CLASSES[k] for k in class_subset(name)}
    found = class_subset(name, order)
    assert {order[k] for k in found} == wanted
    assert len(found) == name


@bounded(40)
@given(drawn=maps(), batches=st.lists(st.integers(1, 3), max_size=8), random=st.randoms())
def test_metric_properties(
    drawn: tuple[int, torch.Tensor, torch.Tensor], batches: list[int], random: Any
) -> None:
    """The metric gives the same numbers for images in any order and any batches."""
    classes, prediction, label = drawn
    if not (label != 255).any():
        return
    images = [
        {
            "pred_sem_seg": {"data": prediction[i::3][None, None]},
            "gt_sem_seg": {"data": label[i::3][None, None]},
        }
        for i in range(3)
    ]
    results = []
    for sizes in ([3], [1, 1, 1], batches or [2, 1]):
        metric = SegmentationMetric()
        metric.dataset_meta = {"classes": [str(k) for k in range(classes)]}
        left = random.sample(images, 3)
        for size in sizes:
            metric.process(None, left[:size])
            left = left[size:]
        if left:
            metric.process(None, left)
        results.append(metric.evaluate(3))
        assert torch.equal(
            metric.last_matrices["student"], confusion_matrix(prediction, label, classes)
        )
    assert results[0] == results[1] == results[2]
