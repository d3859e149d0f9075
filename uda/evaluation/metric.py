"""The mmengine metric: student and teacher side by side, from exact confusion matrices."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import mmengine.dist
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from torch import Tensor

from uda.evaluation.confusion import (
    confusion_matrix,
    iou_from_matrix,
    mean_iou,
    overall_accuracy,
    recall_from_matrix,
)
from uda.evaluation.prediction_writer import PredictionWriter
from uda.evaluation.subsets import ClassChoice, named_subsets
from uda.evaluation.table import class_table

NETWORKS = ("student", "teacher")


@METRICS.register_module()
class SegmentationMetric(BaseMetric):
    """Mean IoU of student and teacher over a whole data set.

    One int64 confusion matrix per network is kept in `results`, so memory does not grow with the
    data set. The matrices are summed over ranks exactly, and every rank gets the same result.

    The class list comes from the data set (`METAINFO["classes"]`). Reported in percent, rounded to
    two decimals: `student/mIoU`, `student/mIoU16` for a subset "16", `student/aAcc`,
    `student/mAcc`, `student/IoU.road`, and the same for `teacher/` when the samples carry
    `teacher_pred_sem_seg`. A sample whose metainfo has `pred_network="teacher"` says that its
    `pred_sem_seg` is the teacher's. A class absent in prediction and truth enters no mean and has
    no entry; the table shows "-".

    Known bias: with several ranks mmengine's `DefaultSampler` repeats images until all ranks have
    equally many, and those count twice. `sampler=dict(type="DefaultSampler", shuffle=False,
    round_up=False)` avoids it; otherwise a warning gives the number of repeated images.

    Args:
        subsets: Further means: named subsets such as (16, 13), or a mapping from a name to class
            names or ids. Each averages per-class IoUs of the full matrix, see `subsets.py`.
        ignore_index: Label of pixels that enter no statistic.
        save_predictions: Folder for predictions as train id PNGs (`PredictionWriter`).
        palette: Colours for a second tree of PNGs: RGB triples, or "dataset" for the data set's.
        format_only: Save predictions without reading labels, for test sets that have none.
        collect_device: Accepted for mmengine's sake; matrices travel by all-reduce.
        prefix: Put before every name, for several evaluators in one run.

    Attributes:
        last_matrices: Confusion matrix (K, K) int64 of each network in the last evaluation.
        last_num_images: How many labelled images they hold.

    Raises:
        ValueError: `format_only` or `palette` without `save_predictions`; samples or data set
            information that lack what is needed; a label and a prediction that do not fit.
    """

    default_prefix = ""  # names already start with the network; None would make mmengine warn

    def __init__(
        self,
        *,
        subsets: Sequence[int | str] | Mapping[str, ClassChoice] = (),
        ignore_index: int = 255,
        save_predictions: str | Path | None = None,
        palette: Sequence[Sequence[int]] | Literal["dataset"] | None = None,
        format_only: bool = False,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if save_predictions is None and (format_only or palette is not None):
            given = "format_only=True" if format_only else "palette"
            raise ValueError(
                f"{given} only makes sense when predictions are saved; give save_predictions=FOLDER"
            )
        self.subsets = subsets
        self.ignore_index = ignore_index
        self.save_predictions = save_predictions
        self.palette = palette
        self.format_only = format_only
        self.last_matrices: dict[str, Tensor] = {}
        self.last_num_images = 0
        self._writer: PredictionWriter | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Return the classes of the data set under evaluation."""
        names = (self.dataset_meta or {}).get("classes")
        if not names:
            raise ValueError(
                "SegmentationMetric needs the data set's class names, but its metainfo has no "
                "'classes'; set METAINFO or metainfo=dict(classes=...) on the data set"
            )
        return tuple(names)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Count one batch and save its predictions when asked to.

        Args:
            data_batch: Not used.
            data_samples: One dict per image with `pred_sem_seg`, `gt_sem_seg` (not with
                `format_only`) and perhaps `teacher_pred_sem_seg`, each holding `data` (1, H, W);
                `pred_network` names the network of `pred_sem_seg` if it is not the student.
        """
        for sample in data_samples:
            predictions = {
                network: label_map(sample, key) for network, key in prediction_keys(sample).items()
            }
            if not self.format_only:
                self._count(sample, predictions)
            self._save(sample, predictions)

    def evaluate(self, size: int) -> dict[str, float]:
        """Return the metrics over all ranks, print the table, and start afresh.

        Args:
            size: Number of images in the data set, to notice repeated ones. mmengine's own
                evaluate would use it to cut the list of results, which here holds sums.

        Returns:
            Percent by name, see the class; empty with `format_only`.
        """
        if self._writer is not None:
            self._writer.start_again()
        if self.format_only:
            print_log(f"Predictions saved to {self.save_predictions}", logger="current")
            return {}
        gathered = self._sum_over_ranks()
        metrics: dict[str, float] = self.compute_metrics([gathered])
        self._report_repeated(size)
        table = class_table(
            self.last_matrices, self.class_names, named_subsets(self.subsets, self.class_names)
        )
        print_log(f"IoU (%) over {self.last_num_images} images\n{table}", logger="current")
        return {
            f"{self.prefix}/{name}" if self.prefix else name: value
            for name, value in metrics.items()
        }

    def compute_metrics(self, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """Return the metrics of summed counts and remember their matrices.

        Args:
            results: One dict with a matrix (K, K) and a number of images per network.
        """
        (totals,) = results
        images = {network: int(totals[f"{network}_images"]) for network in NETWORKS}
        if len({count for count in images.values() if count}) > 1:
            raise ValueError(
                "every sample must carry the predictions of the same networks, got "
                f"{images['student']} images of the student and {images['teacher']} of the teacher"
            )
        self.last_num_images = max(images.values())
        self.last_matrices = {name: totals[name] for name, count in images.items() if count}
        subsets = named_subsets(self.subsets, self.class_names)
        metrics: dict[str, float] = {}
        for network, matrix in self.last_matrices.items():
            scores = network_scores(matrix, self.class_names, subsets)
            metrics |= {f"{network}/{name}": round(value, 2) for name, value in scores.items()}
        return metrics

    def _count(self, sample: dict[str, Any], predictions: dict[str, Tensor]) -> None:
        """Add one image to the running matrices."""
        label = label_map(sample, "gt_sem_seg")
        num_classes = len(self.class_names)
        if not self.results:
            self.results.append(_no_counts(num_classes))
        for network, prediction in predictions.items():
            try:
                counted = confusion_matrix(
                    prediction, label.to(prediction.device), num_classes, self.ignore_index
                )
            except (TypeError, ValueError) as error:
                raise type(error)(
                    f"{sample.get('img_path', 'a sample')} ({network}): {error}"
                ) from error
            self.results[0][network] += counted.cpu()
            self.results[0][f"{network}_images"] += 1

    def _save(self, sample: dict[str, Any], predictions: dict[str, Tensor]) -> None:
        """Write the predictions of one image when a folder was given."""
        if self.save_predictions is None:
            return
        if self._writer is None:
            self._writer = PredictionWriter(self.save_predictions, palette=self._colours())
        if "img_path" not in sample:
            raise ValueError(
                "predictions are saved under the image's name, but a sample has no 'img_path'; "
                f"add it to meta_keys of PackSegInputs (the sample has {', '.join(sample)})"
            )
        for network, prediction in predictions.items():
            self._writer.write(prediction, str(sample["img_path"]), network)

    def _colours(self) -> Sequence[Sequence[int]] | None:
        """Return the palette to paint with, taken from the data set when that was asked for."""
        if self.palette != "dataset":
            return self.palette
        colours: Sequence[Sequence[int]] | None = (self.dataset_meta or {}).get("palette")
        if colours is None:
            raise ValueError(
                "palette='dataset' was asked for, but the data set's metainfo has no 'palette'; "
                "give the colours as RGB triples"
            )
        return colours

    def _sum_over_ranks(self) -> dict[str, Tensor]:
        """Return the counts of all ranks; a rank without images adds nothing."""
        counts = self.results[0] if self.results else _no_counts(len(self.class_names))
        self.results.clear()  # before anything can fail: the next evaluation starts from zero
        flat = torch.cat([counts[key].reshape(-1) for key in counts])
        mmengine.dist.all_reduce(flat, "sum")  # int64: the sum is exact and has no order
        pieces = torch.split(flat, [counts[key].numel() for key in counts])
        totals = {
            key: piece.view(counts[key].shape) for key, piece in zip(counts, pieces, strict=True)
        }
        if not any(int(totals[network].sum()) for network in NETWORKS):
            images = max(int(totals[f"{network}_images"]) for network in NETWORKS)
            raise ValueError(
                f"no labelled pixel was evaluated ({images} images, labels "
                f"all {self.ignore_index}); check the label folder and the label map, or use "
                "format_only=True for a test set without labels"
            )
        return totals

    def _report_repeated(self, size: int) -> None:
        """Warn when the sampler showed images twice."""
        repeated = self.last_num_images - size
        if repeated > 0:
            print_log(
                f"{repeated} of {self.last_num_images} evaluated images are repetitions made by "
                "the sampler; use round_up=False in the sampler of the validation data",
                logger="current",
                level=logging.WARNING,
            )


def network_scores(
    matrix: Tensor, class_names: Sequence[str], subsets: Mapping[str, Sequence[int]]
) -> dict[str, float]:
    """Return the scores of one confusion matrix in percent, not rounded, without absent ones.

    Args:
        matrix: (K, K) integer counts, rows truth, columns prediction.
        class_names: K names.
        subsets: Class ids of each further mean.

    >>> network_scores(torch.tensor([[3, 1], [0, 0]]), ["road", "sky"], {"1": [0]})
    {'mIoU': 37.5, 'mIoU1': 75.0, 'aAcc': 75.0, 'mAcc': 75.0, 'IoU.road': 75.0, 'IoU.sky': 0.0}
    """
    shares = {"mIoU": mean_iou(matrix).value}
    shares |= {f"mIoU{name}": mean_iou(matrix, ids).value for name, ids in subsets.items()}
    shares["aAcc"] = overall_accuracy(matrix)
    shares["mAcc"] = float(recall_from_matrix(matrix).nanmean())
    ious = iou_from_matrix(matrix).tolist()
    shares |= {f"IoU.{name}": iou for name, iou in zip(class_names, ious, strict=True)}
    return {name: 100 * share for name, share in shares.items() if not math.isnan(share)}


def _no_counts(num_classes: int) -> dict[str, Tensor]:
    """Return empty counts; all ranks build the same keys and shapes, so that they can be summed."""
    counts = {}
    for network in NETWORKS:
        counts[network] = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        counts[f"{network}_images"] = torch.zeros((), dtype=torch.int64)
    return counts


def prediction_keys(sample: Mapping[str, Any]) -> dict[str, str]:
    """Return where a data sample has the prediction of each network."""
    first = sample.get("pred_network", "student")
    if first not in NETWORKS:
        raise ValueError(
            f"pred_network of a data sample has to be one of {', '.join(NETWORKS)}, got {first!r} "
            f"({sample.get('img_path', 'no path given')})"
        )
    keys = {network: f"{network}_pred_sem_seg" for network in NETWORKS}
    others = {network: key for network, key in keys.items() if key in sample and network != first}
    return {first: "pred_sem_seg", **others}


def label_map(sample: Mapping[str, Any], key: str) -> Tensor:
    """Return the (H, W) map under `key` of a data sample."""
    if key not in sample:
        raise ValueError(
            f"a data sample has no {key!r} ({sample.get('img_path', 'no path given')}; it has "
            f"{', '.join(sample)}); predictions come from the model's predict mode, labels from "
            "LoadAnnotations and PackSegInputs in the pipeline"
        )
    data: Tensor = sample[key]["data"]
    return data.squeeze(0) if data.ndim == 3 else data
