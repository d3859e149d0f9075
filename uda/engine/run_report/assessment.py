"""What one network does on every image of a set: confusion, calibration, and small predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from uda.engine.evaluate import LoadedNetwork
from uda.evaluation.calibration import BINS, reliability_bins
from uda.evaluation.confusion import confusion_matrix
from uda.structures import IGNORE_INDEX

WIDTH = 384  # of the small predictions, in pixels

Progress = Callable[[int, int], None]


class ImageSet(NamedTuple):
    """Images to assess networks on.

    Attributes:
        images: A data set of mmengine's kind, each item as `PackSegInputs` packs it.
        labelled: Whether items have a label.
        title: What they are, for a sentence on the page.
        classes: Names.
        palette: RGB colour of each class.
    """

    images: Any
    labelled: bool
    title: str
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Assessment:
    """What came of predicting N images with one network of K classes.

    Attributes:
        files: Path of each image.
        matrices: (N, K, K) int64 confusion of each image, rows truth; all zero without labels.
        bins: (3, B) float64 of `reliability_bins`; all zero without labels.
        pixels: (K,) int64, how many were predicted as each class.
        confidence: (N,) float64, mean over the pixels of the highest probability.
        entropy: (N,) float64, mean over the pixels of the entropy as a share of log K.
        predictions: Small label maps (h, w) uint8, one an image.
        truths: The same of the labels; empty without labels.
    """

    files: Sequence[str]
    matrices: np.ndarray
    bins: np.ndarray
    pixels: np.ndarray
    confidence: np.ndarray
    entropy: np.ndarray
    predictions: Sequence[np.ndarray]
    truths: Sequence[np.ndarray]

    @property
    def labelled(self) -> bool:
        """Whether there was anything to compare with."""
        return bool(self.matrices.any())

    @property
    def matrix(self) -> Tensor:
        """The confusion matrix (K, K) over all images."""
        return torch.from_numpy(self.matrices.sum(0))


@torch.no_grad()
def assess(network: LoadedNetwork, images: ImageSet, *, limit: int | None = None,
           progress: Progress | None = None) -> Assessment:  # fmt: skip
    """Predict the images one by one.

    Args:
        network: From `load_network`.
        images: What to predict.
        limit: How many at most, evenly spread over the set; None takes all.
        progress: Called with the number done and the number in all, after each image.

    Raises:
        ValueError: There is no image, or a label cannot be read.
    """
    chosen = spread_indices(len(images.images), limit)
    if not chosen:
        raise ValueError(f"There is no image in {images.title}.")
    rows = []
    for done, index in enumerate(chosen, start=1):
        item = images.images[index]
        rows.append(_image(network.segmentor, item, images))
        if progress is not None:
            progress(done, len(chosen))
    return Assessment(
        files=[row["file"] for row in rows],
        matrices=np.stack([row["matrix"] for row in rows]),
        bins=np.sum([row["bins"] for row in rows], axis=0),
        pixels=np.sum([row["pixels"] for row in rows], axis=0),
        confidence=np.array([row["confidence"] for row in rows]),
        entropy=np.array([row["entropy"] for row in rows]),
        predictions=[row["prediction"] for row in rows],
        truths=[row["truth"] for row in rows if row["truth"] is not None],
    )


def spread_indices(count: int, limit: int | None) -> list[int]:
    """Indices evenly spread over `count` items, at most `limit`.

    >>> spread_indices(10, 3), spread_indices(2, None), spread_indices(0, 5)
    ([0, 4, 9], [0, 1], [])
    """
    number = count if limit is None else min(limit, count)
    return [int(index) for index in np.linspace(0, count - 1, number).round()]


def small(label: np.ndarray, width: int = WIDTH) -> np.ndarray:
    """A label map that is at most so wide; each pixel is one of the large map."""
    if label.shape[1] <= width:
        return label
    size = (width, max(1, round(label.shape[0] * width / label.shape[1])))
    return np.asarray(cv2.resize(label, size, interpolation=cv2.INTER_NEAREST))


def _image(segmentor: Any, item: dict[str, Any], images: ImageSet) -> dict[str, Any]:
    """All about one image."""
    sample = item["data_samples"]
    (found,) = segmentor.test_step({"inputs": [item["inputs"]], "data_samples": [sample]})
    probs = found.seg_logits.data.float().softmax(0)
    confidence, _ = probs.max(0)
    prediction = found.pred_sem_seg.data.squeeze(0)
    number = len(images.classes)
    entropy = torch.special.entr(probs).sum(0).mean().item() / math.log(max(2, number))
    row: dict[str, Any] = {
        "file": str(sample.metainfo.get("img_path", "")),
        "matrix": np.zeros((number, number), np.int64),
        "bins": np.zeros((3, BINS)),
        "pixels": torch.bincount(prediction.flatten(), minlength=number).cpu().numpy(),
        "confidence": confidence.mean().item(),
        "entropy": entropy,
        "prediction": small(prediction.byte().cpu().numpy()),
        "truth": None,
    }
    if images.labelled:
        label = sample.gt_sem_seg.data.squeeze(0).to(prediction.device)
        row["matrix"] = _matrix(prediction, label, number, row["file"])
        known = label != IGNORE_INDEX
        right = prediction[known] == label[known]
        row["bins"] = reliability_bins(confidence[known], right).numpy()
        row["truth"] = small(label.byte().cpu().numpy())
    return row


def _matrix(prediction: Tensor, label: Tensor, number: int, file: str) -> np.ndarray:
    try:
        return np.asarray(confusion_matrix(prediction, label, number).cpu())
    except ValueError as error:
        raise ValueError(f"{Path(file).name}: {error}") from error
