"""The file `metrics.json`: what an evaluation found, complete enough to compute it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from uda.evaluation.confusion import iou_from_matrix, mean_iou, overall_accuracy
from uda.files import write_atomically

FORMAT = 1


def write_metrics(
    path: str | Path,
    metrics: Mapping[str, float],
    matrices: Mapping[str, Tensor],
    class_names: Sequence[str],
    context: Mapping[str, Any],
    *,
    subsets: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """Write an evaluation as JSON in one step and return what was written.

    All scores are percent; in `networks` they are not rounded. A score that does not exist is null,
    never NaN, so that any JSON reader can read the file.

    Args:
        path: Target file; missing folders are made.
        metrics: What `SegmentationMetric` returned.
        matrices: Its `last_matrices`: (K, K) int64 of each network, rows truth.
        class_names: K names.
        context: How the numbers came about, JSON values. `summarise_runs` reads `experiment`,
            `dataset` and `seed`; `checkpoint`, `config`, `network` and `dataset_size` belong here.
        subsets: Class ids of each further mean, by name.

    Returns:
        The content of the file.

    Raises:
        ValueError: A matrix does not fit the class names.
        TypeError: `context` holds what JSON cannot express.
    """
    subsets = subsets or {}
    for network, matrix in matrices.items():
        if tuple(matrix.shape) != (len(class_names), len(class_names)):
            raise ValueError(
                f"the confusion matrix of {network} has shape {tuple(matrix.shape)}, but there "
                f"are {len(class_names)} class names"
            )
    content = {
        "format": FORMAT,
        "context": dict(context),
        "metrics": {name: _number(value) for name, value in metrics.items()},
        "classes": list(class_names),
        "subsets": {name: [class_names[i] for i in ids] for name, ids in subsets.items()},
        "networks": {
            network: _network(matrix, class_names, subsets) for network, matrix in matrices.items()
        },
    }
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(Path(path), (text + "\n").encode())
    return content


def _network(
    matrix: Tensor, class_names: Sequence[str], subsets: Mapping[str, Sequence[int]]
) -> dict[str, Any]:
    """Return everything about one network."""
    whole = mean_iou(matrix)
    means = {f"mIoU{name}": mean_iou(matrix, ids).value for name, ids in subsets.items()}
    ious = iou_from_matrix(matrix).tolist()
    return {
        "mIoU": _number(100 * whole.value),
        **{name: _number(100 * value) for name, value in means.items()},
        "aAcc": _number(100 * overall_accuracy(matrix)),
        "IoU": {name: _number(100 * iou) for name, iou in zip(class_names, ious, strict=True)},
        "absent_classes": [class_names[class_id] for class_id in whole.absent],
        "confusion_matrix": matrix.tolist(),
    }


def _number(value: float) -> float | None:
    """Return the value, or None where there is none."""
    return None if math.isnan(value) else float(value)
