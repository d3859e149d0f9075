"""Confusion matrices against hand counts, a plain loop and mmseg, and their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmseg.evaluation.metrics import IoUMetric
from torch import Tensor

from uda.evaluation.confusion import (
    ConfusionMatrix,
    confusion_matrix,
    iou_from_matrix,
    mean_iou,
    overall_accuracy,
    recall_from_matrix,
)

HAND_MADE = torch.tensor([[5, 1, 0, 0], [2, 4, 0, 0], [0, 3, 0, 0], [0, 0, 0, 0]])


def random_maps(
    seed: int, num_classes: int, shape: tuple[int, ...] = (2, 13, 17)
) -> tuple[Tensor, Tensor]:
    """Return a prediction and a label with about a fifth of the pixels ignored, int64."""
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randint(0, num_classes, shape, generator=generator)
    label = torch.randint(0, num_classes, shape, generator=generator)
    label[torch.rand(shape, generator=generator) < 0.2] = 255
    return prediction, label


def counted_by_loop(prediction: Tensor, label: Tensor, num_classes: int) -> np.ndarray:
    """Return the matrix counted pixel by pixel."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for predicted, true in zip(
        prediction.flatten().tolist(), label.flatten().tolist(), strict=True
    ):
        if true != 255:
            matrix[true, predicted] += 1
    return matrix


def test_confusion_matrix_values() -> None:
    """Truth 0 0 1 1 2 255 against 0 1 1 1 0 2: by hand (0,0) (0,1) (1,1) twice and (2,0)."""
    label = torch.tensor([[0, 0, 1], [1, 2, 255]])
    prediction = torch.tensor([[0, 1, 1], [1, 0, 2]])
    expected = torch.tensor([[1, 1, 0], [0, 2, 0], [1, 0, 0]])
    assert torch.equal(confusion_matrix(prediction, label, 3), expected)


@pytest.mark.parametrize("num_classes", [1, 2, 19, 128, 129, 200, 300])
@pytest.mark.parametrize("prediction_type", [torch.uint8, torch.int64])
@pytest.mark.parametrize("label_type", [torch.uint8, torch.int16, torch.int64])
def test_confusion_matrix_parity(
    num_classes: int, prediction_type: torch.dtype, label_type: torch.dtype
) -> None:
    """Equals the plain loop for every input type, also where label * K leaves 8 and 16 bits."""
    used = min(num_classes, 255)  # ids that fit in 8 bits and are not the ignored one
    prediction, label = random_maps(num_classes, used)
    matrix = confusion_matrix(prediction.to(prediction_type), label.to(label_type), num_classes)
    assert matrix.dtype == torch.int64
    assert np.array_equal(matrix.numpy(), counted_by_loop(prediction, label, num_classes))


@pytest.mark.parametrize("seed", range(5))
def test_iou_parity_with_mmseg(seed: int) -> None:
    """Intersection, union and areas equal those of mmseg's IoUMetric."""
    prediction, label = random_maps(seed, 19, (37, 53))
    intersection, union, predicted, true = IoUMetric.intersect_and_union(prediction, label, 19, 255)
    matrix = confusion_matrix(prediction.byte(), label.byte(), 19)
    assert matrix.diagonal().tolist() == intersection.tolist()
    assert matrix.sum(0).tolist() == predicted.tolist()
    assert matrix.sum(1).tolist() == true.tolist()
    torch.testing.assert_close(iou_from_matrix(matrix), (intersection / union).double())


def test_confusion_matrix_keeps_its_input() -> None:
    """The index is computed in place, but never in the caller's label."""
    for dtype in (torch.int16, torch.int64):
        prediction, label = (values.to(dtype) for values in random_maps(0, 200))
        before = label.clone()
        confusion_matrix(prediction, label, 200)
        assert torch.equal(label, before)


def test_confusion_matrix_ignore_index_within_classes() -> None:
    """With class 0 ignored its row is empty; others may still be predicted as 0."""
    label, prediction = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    matrix = confusion_matrix(prediction, label, 2, ignore_index=0)
    assert matrix.tolist() == [[0, 0], [1, 1]]


def test_confusion_matrix_of_nothing() -> None:
    """An empty crop counts nothing."""
    empty = torch.zeros(0, 4, dtype=torch.int64)
    assert confusion_matrix(empty, empty, 3).tolist() == [[0] * 3] * 3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_confusion_matrix_errors_outside(dtype: torch.dtype) -> None:
    """Ids out of range are named with their counts, never counted in another class's bin."""
    good = torch.zeros(2, 3, dtype=dtype)
    bad = torch.tensor([[0, 7, 7], [1, 9, 255]], dtype=dtype)
    with pytest.raises(
        ValueError, match=r"prediction must .*\[0, 3\), got 4 of 6 .*7 \(2 pixels\)"
    ):
        confusion_matrix(bad, good, 3)
    with pytest.raises(
        ValueError, match=r"label must .*or 255 \(ignored\), got 3 of 6 .*9 \(1 pixels\)"
    ):
        confusion_matrix(good, bad, 3)


def test_confusion_matrix_errors_negative_and_many() -> None:
    """Negative ids and ids far away are found before they could make millions of bins."""
    good = torch.zeros(7, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"prediction must .*-1 \(7 pixels\)"):
        confusion_matrix(good - 1, good, 3)
    with pytest.raises(ValueError, match=r"and 2 more values"):
        confusion_matrix(good, torch.arange(7) * 10**12 + 300, 3)


def test_confusion_matrix_errors_kinds() -> None:
    """Wrong types, shapes and settings say what to do."""
    ids = torch.zeros(2, 2, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"prediction must .*float32; take the argmax"):
        confusion_matrix(ids.float(), ids, 3)
    with pytest.raises(TypeError, match=r"label must .*bool"):
        confusion_matrix(ids, ids.bool(), 3)
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(1, 2, 2\); resize"):
        confusion_matrix(ids, ids[None], 3)
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        confusion_matrix(ids, ids, 0)
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="ignore_index must be at least 0, got -100"):
        confusion_matrix(ids, ids, 3, ignore_index=-100)


def test_scores_values() -> None:
    """The scores of HAND_MADE by hand.

    IoU: 5/(6+7-5) = 5/8; 4/(6+8-4) = 4/10; class 2 is in the truth only: 0/3; class 3 is absent.
    Mean of the three: (0.625 + 0.4 + 0) / 3. Accuracy 9/15; recall 5/6, 4/6, 0, none.
    """
    iou = iou_from_matrix(HAND_MADE)
    assert iou.dtype == torch.float64
    assert iou[:3].tolist() == [0.625, 0.4, 0.0]
    assert math.isnan(iou[3])
    mean = mean_iou(HAND_MADE)
    assert mean.value == pytest.approx(1.025 / 3, abs=1e-15)
    assert mean.absent == (3,)
    assert overall_accuracy(HAND_MADE) == 9 / 15
    recall = recall_from_matrix(HAND_MADE)
    assert recall[:3].tolist() == [5 / 6, 4 / 6, 0.0]
    assert math.isnan(recall[3])


def test_mean_iou_values_of_subsets() -> None:
    """Classes 0 and 2 of HAND_MADE: (0.625 + 0) / 2, false positives into class 1 still counted.

    Cut to rows and columns 0 and 2 first, class 0 would reach 5/(5+5-5) = 1: not the convention.
    """
    assert mean_iou(HAND_MADE, [0, 2]) == (0.3125, ())
    alone = mean_iou(HAND_MADE, [3])
    assert math.isnan(alone.value)
    assert alone.absent == (3,)


def test_scores_errors() -> None:
    """Ids and matrices that make no sense are refused."""
    with pytest.raises(ValueError, match=r"different ids in \[0, 4\), got \[4\]"):
        mean_iou(HAND_MADE, [4])
    with pytest.raises(ValueError, match=r"got \[1, 1\]"):
        mean_iou(HAND_MADE, [1, 1])
    with pytest.raises(ValueError, match=r"shape \(K, K\), got \(3, 4\)"):
        iou_from_matrix(HAND_MADE[:3])
    with pytest.raises(TypeError, match="integer counts, got torch.float64"):
        iou_from_matrix(HAND_MADE.double())


def test_scores_of_nothing() -> None:
    """No counts: no score, and no division error."""
    empty = torch.zeros(2, 2, dtype=torch.int64)
    assert math.isnan(overall_accuracy(empty))
    assert math.isnan(mean_iou(empty).value)
    assert mean_iou(empty).absent == (0, 1)


def test_confusion_matrix_object_values() -> None:
    """Update, merge and plus count the same; `+` leaves both sides as they were."""
    first, second = ConfusionMatrix(3), ConfusionMatrix(3)
    for counted, seed in ((first, 0), (second, 1)):
        counted.update(*random_maps(seed, 3))
    total = first + second
    assert torch.equal(total.matrix, first.matrix + second.matrix)
    assert torch.equal(total.iou(), iou_from_matrix(total.matrix))
    assert total.accuracy() == overall_accuracy(total.matrix)
    assert torch.equal(first.merge(second).matrix, total.matrix)
    with pytest.raises(ValueError, match="same classes can be merged, got 3 and 4"):
        first.merge(ConfusionMatrix(4))


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31),
    num_classes=st.integers(1, 30),
    cut=st.integers(0, 60),
)
def test_confusion_matrix_properties(seed: int, num_classes: int, cut: int) -> None:
    """Order and splitting change nothing; the sum counts labelled pixels; IoU lies in [0, 1]."""
    prediction, label = random_maps(seed, num_classes, (60,))
    whole = ConfusionMatrix(num_classes).update(prediction, label)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    parts = ConfusionMatrix(num_classes)
    for chosen in (order[:cut], order[cut:]):
        parts.update(prediction[chosen], label[chosen])
    assert torch.equal(whole.matrix, parts.matrix)
    assert int(whole.matrix.sum()) == int((label != 255).sum())
    iou = whole.iou()
    present = iou[~iou.isnan()]
    assert bool(((present >= 0) & (present <= 1)).all())
    seen = {*label[label != 255].tolist(), *prediction[label != 255].tolist()}
    assert set(mean_iou(whole.matrix).absent) == set(range(num_classes)) - seen


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    num_classes=st.sampled_from([1, 2, 19, 200, 256]),
    ignore=st.sampled_from([255, 3, 0]),
    most=st.sampled_from([1, 64, 2**24]),
)
def test_both_ways_of_counting_agree(seed: int, num_classes: int, ignore: int, most: int) -> None:
    """The histogram, in parts of any size, and the bincount that a GPU uses give one matrix."""
    prediction, label = random_maps(seed, num_classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("uda.evaluation.confusion._EXACT_PIXELS", most)
        counted = confusion_matrix(prediction, label, num_classes, 255)
        patch.setattr("uda.evaluation.confusion._fits_bytes", lambda *maps: False)
        assert torch.equal(confusion_matrix(prediction, label, num_classes, 255), counted)
        label = label.where(label != 255, ignore)
        other = confusion_matrix(prediction, label, num_classes, ignore)
    assert torch.equal(confusion_matrix(prediction, label, num_classes, ignore), other)


def test_counts_beyond_float32() -> None:
    """More equal pixels than float32 can count one by one."""
    label = torch.zeros(2**24 + 9, dtype=torch.uint8)
    assert confusion_matrix(label, label, 2).tolist() == [[2**24 + 9, 0], [0, 0]]
