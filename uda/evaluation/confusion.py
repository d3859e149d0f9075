"""Exact confusion matrices of label maps and the scores read from them.

Everything this package reports comes from one int64 matrix over the whole data set: rows are the
truth, columns the prediction. Scores of single images are never averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

_INTEGER_TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_EXACT_PIXELS = 2**24  # counts of a histogram in float32 are exact up to here


class MeanIoU(NamedTuple):
    """A mean IoU together with the classes that could not enter it.

    Attributes:
        value: Mean in [0, 1]; NaN when every class asked for is absent.
        absent: Ids of the classes that occur neither in the truth nor in the prediction.
    """

    value: float
    absent: tuple[int, ...]


def confusion_matrix(
    prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Return how many pixels of each true class were predicted as each class.

    One pass counts all pairs of values. Ignored pixels need no mask: they fall into bins of their
    own beyond the kept ones. On a CPU, maps of ids below 256 are counted by OpenCV's histogram over
    both (exact: at most 2^24 pixels go into one, whose counts are float32, and sums are int64);
    elsewhere one bincount of label * K + prediction. Either is many times as fast as selecting the
    valid pixels first.

    Args:
        prediction: Integer map of any shape, values in [0, K).
        label: Integer map of the same shape, values in [0, K) or `ignore_index`.
        num_classes: K.
        ignore_index: Label of pixels that enter no statistic, at least 0. When it is smaller
            than K, the row of that class stays empty.

    Returns:
        (K, K) int64 on the device of the input; rows are truth, columns prediction.

    Raises:
        TypeError: A map does not hold integers.
        ValueError: The shapes differ, or a value lies outside its range.

    >>> confusion_matrix(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 255]), 2)
    tensor([[1, 1],
            [0, 1]])
    """
    _check_maps(prediction, label, num_classes, ignore_index)
    if prediction.numel() == 0:
        return torch.zeros(num_classes, num_classes, dtype=torch.int64, device=prediction.device)
    if num_classes <= 256 and ignore_index < 256 and _fits_bytes(prediction, label):
        counts = _histogram(prediction, label)
        if counts[:, num_classes:].any():
            _check_range("prediction", prediction, num_classes, ignore_index=None)
        rows = counts[:, :num_classes]
    else:
        _check_range("prediction", prediction, num_classes, ignore_index=None)
        if label.dtype != torch.uint8:  # 8 bits bound the number of bins; checked below
            _check_range("label", label, num_classes, ignore_index)
        rows = _bins(prediction, label, num_classes, ignore_index)
    num_ignored = int(rows[ignore_index].sum())
    rows[ignore_index] = 0
    matrix = rows[:num_classes].clone()
    if int(matrix.sum()) + num_ignored != label.numel():
        _check_range("label", label, num_classes, ignore_index)
    return matrix


def _fits_bytes(*maps: Tensor) -> bool:
    """Whether all maps lie on the CPU and hold values of 0 to 255."""
    if any(one.device.type != "cpu" for one in maps):
        return False
    bounds = [torch.aminmax(one) for one in maps if one.dtype != torch.uint8]
    return all(int(low) >= 0 and int(high) <= 255 for low, high in bounds)


def _histogram(prediction: Tensor, label: Tensor) -> Tensor:
    """(256, 256) int64 counts of 8-bit labels (rows) with 8-bit predictions (columns)."""
    maps = [one.to(torch.uint8).numpy().reshape(1, -1) for one in (label, prediction)]
    counts = np.zeros((256, 256), np.int64)
    for first in range(0, maps[0].size, _EXACT_PIXELS):
        part = [one[:, first : first + _EXACT_PIXELS] for one in maps]
        found = cv2.calcHist(part, [0, 1], None, [256, 256], [0, 256, 0, 256])
        counts += np.asarray(found, np.int64)
    return torch.from_numpy(counts)


def _bins(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """(rows, K) int64 counts of labels with predictions, by one bincount."""
    num_rows = max(num_classes, ignore_index + 1, 256 if label.dtype == torch.uint8 else 0)
    # The narrowest type that holds the largest index: uint8 maps would wrap around, and int64
    # indices cost several times the memory traffic. Both maps are converted before they are
    # added, because in-place arithmetic between two types is slow. `copy` protects the caller's
    # label from the in-place multiplication.
    index_type = torch.int16 if num_rows * num_classes <= 2**15 else torch.int64
    index = label.to(index_type, copy=True).mul_(num_classes).add_(prediction.to(index_type))
    bins = torch.bincount(index.flatten(), minlength=num_rows * num_classes)
    return bins.view(num_rows, num_classes)


def _check_maps(prediction: Tensor, label: Tensor, num_classes: int, ignore_index: int) -> None:
    """Reject maps that cannot be compared pixel by pixel."""
    for name, values in (("prediction", prediction), ("label", label)):
        if values.dtype not in _INTEGER_TYPES:
            raise TypeError(
                f"{name} must be a map of class ids in an integer type, got {values.dtype}; "
                "take the argmax of logits over the class dimension first"
            )
    if prediction.shape != label.shape:
        raise ValueError(
            f"prediction and label must have the same shape, got {tuple(prediction.shape)} and "
            f"{tuple(label.shape)}; resize the logits to the label's size before the argmax"
        )
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if ignore_index < 0:
        raise ValueError(
            f"ignore_index must be at least 0, got {ignore_index}; stored labels use 255"
        )


def _check_range(name: str, values: Tensor, num_classes: int, ignore_index: int | None) -> None:
    """Raise with the offending values and their counts when `values` leave their range."""
    smallest, largest = (int(bound) for bound in torch.aminmax(values))
    if smallest >= 0 and largest < num_classes:
        return
    outside = (values < 0) | (values >= num_classes)
    allowed = f"[0, {num_classes})"
    if ignore_index is not None:
        outside &= values != ignore_index
        allowed += f" or {ignore_index} (ignored)"
    wrong, counts = torch.unique(values[outside], return_counts=True)
    if wrong.numel() == 0:
        return
    listed = [f"{int(v)} ({int(c)} pixels)" for v, c in zip(wrong[:5], counts[:5], strict=True)]
    if wrong.numel() > len(listed):
        listed.append(f"and {wrong.numel() - len(listed)} more values")
    raise ValueError(
        f"{name} must hold class ids in {allowed}, got {int(outside.sum())} of {values.numel()} "
        f"pixels outside: {', '.join(listed)}; check the label map and the number of classes"
    )


class ConfusionMatrix:
    """Running sum of confusion matrices; its whole state is the tensor `matrix`.

    The sum is kept on the CPU in int64, so the order and the splitting of the images change
    nothing, and 2**63 pixels fit.

    Args:
        num_classes: K.
        ignore_index: Label of pixels that enter no statistic.

    Attributes:
        matrix: (K, K) int64, rows truth, columns prediction.

    >>> counted = ConfusionMatrix(2).update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0]))
    >>> counted.iou()
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    def __init__(self, num_classes: int, *, ignore_index: int = 255) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def update(self, prediction: Tensor, label: Tensor) -> ConfusionMatrix:
        """Count one image or batch (see `confusion_matrix`) and return this object."""
        counted = confusion_matrix(prediction, label, self.num_classes, self.ignore_index)
        self.matrix += counted.cpu()
        return self

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Add the counts of `other` to this object and return it."""
        if other.num_classes != self.num_classes:
            raise ValueError(
                "only confusion matrices over the same classes can be merged, got "
                f"{self.num_classes} and {other.num_classes} classes"
            )
        self.matrix += other.matrix
        return self

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Return a new object with the counts of both."""
        total = ConfusionMatrix(self.num_classes, ignore_index=self.ignore_index)
        return total.merge(self).merge(other)

    def iou(self) -> Tensor:
        """Return the IoU of each class, see `iou_from_matrix`."""
        return iou_from_matrix(self.matrix)

    def accuracy(self) -> float:
        """Return the share of labelled pixels predicted rightly, see `overall_accuracy`."""
        return overall_accuracy(self.matrix)


def iou_from_matrix(matrix: Tensor) -> Tensor:
    """Return the intersection over union of each class.

    IoU_k = M_kk / (sum_j M_kj + sum_i M_ik - M_kk), in [0, 1].

    Args:
        matrix: (K, K) integer counts, rows truth, columns prediction.

    Returns:
        (K,) float64; NaN for a class that occurs neither in the truth nor in the prediction.

    >>> iou_from_matrix(torch.tensor([[3, 1, 0], [2, 4, 0], [0, 0, 0]]))
    tensor([0.5000, 0.5714,    nan], dtype=torch.float64)
    """
    counts = _as_square_counts(matrix)
    hits = counts.diagonal()
    union = counts.sum(1) + counts.sum(0) - hits
    return hits.double() / union.double()


def recall_from_matrix(matrix: Tensor) -> Tensor:
    """Return the share of each true class that was found; its mean is what tables call mAcc.

    Args:
        matrix: (K, K) integer counts, rows truth, columns prediction.

    Returns:
        (K,) float64 in [0, 1]; NaN for a class that is absent from the truth.

    >>> recall_from_matrix(torch.tensor([[3, 1], [0, 0]]))
    tensor([0.7500,    nan], dtype=torch.float64)
    """
    counts = _as_square_counts(matrix)
    return counts.diagonal().double() / counts.sum(1).double()


def overall_accuracy(matrix: Tensor) -> float:
    """Return the share of labelled pixels predicted rightly; NaN when there are none.

    Tables call it aAcc. Ignored pixels are no part of it, unlike in `uda.losses.pixel_accuracy`.

    >>> overall_accuracy(torch.tensor([[3, 1], [2, 4]]))
    0.7
    """
    counts = _as_square_counts(matrix)
    total = int(counts.sum())
    return int(counts.diagonal().sum()) / total if total else float("nan")


def mean_iou(matrix: Tensor, classes: Sequence[int] | None = None) -> MeanIoU:
    """Return the mean IoU and the absent classes that were left out of it.

    A subset of classes averages IoUs that were computed from the full matrix: a pixel predicted as
    a class outside the subset still counts as missed. That is how mIoU16 and mIoU13 of
    SYNTHIA -> Cityscapes are published.

    Args:
        matrix: (K, K) integer counts, rows truth, columns prediction.
        classes: Ids of the classes to average; all K by default.

    Returns:
        Mean in [0, 1] (NaN when no class is left) and the absent ids.

    Raises:
        ValueError: A class id is outside [0, K), or given twice.

    >>> mean_iou(torch.tensor([[3, 1, 0], [2, 4, 0], [0, 0, 0]]), classes=[0, 2])
    MeanIoU(value=0.5, absent=(2,))
    """
    iou = iou_from_matrix(matrix)
    wanted = list(range(len(iou))) if classes is None else [int(class_id) for class_id in classes]
    if any(not 0 <= class_id < len(iou) for class_id in wanted) or len(set(wanted)) != len(wanted):
        raise ValueError(
            f"classes must be different ids in [0, {len(iou)}), got {wanted}; "
            "uda.evaluation.class_subset turns names into ids"
        )
    chosen = iou[wanted]
    present = ~chosen.isnan()
    absent = tuple(
        class_id for class_id, found in zip(wanted, present.tolist(), strict=True) if not found
    )
    return MeanIoU(float(chosen[present].mean()), absent)


def _as_square_counts(matrix: Tensor) -> Tensor:
    """Return the matrix as int64, so that narrow counts cannot wrap when they are summed."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"a confusion matrix must have shape (K, K), got {tuple(matrix.shape)}")
    if matrix.dtype not in _INTEGER_TYPES:
        raise TypeError(f"a confusion matrix must hold integer counts, got {matrix.dtype}")
    return matrix.long()
