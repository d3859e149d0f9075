"""The mmengine metric that needs no labels: scores of student and teacher, and their agreement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import mmengine.dist
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from torch import Tensor

from uda.evaluation.confusion import confusion_matrix
from uda.evaluation.label_free.scores import agreement_scores, label_free_scores
from uda.evaluation.label_free.sums import PredictionSums, prediction_sums
from uda.evaluation.label_free.table import score_table
from uda.evaluation.metric import NETWORKS, label_map, prediction_keys

# Where a data sample has the sums of a network, and the number of its image in the data set.
SUMS, IMAGE_NUMBER = "{}_sums", "image_number"
_DIGITS = 6


@METRICS.register_module()
class LabelFreeScores(BaseMetric):
    """Scores of `SCORES` over a whole data set, of which no label is read.

    Reported as `student/entropy`, `teacher/entropy` and so on; what compares the two networks
    stands under the student (`student/agreement`) where both were evaluated. The sums behind them
    are integers (`PredictionSums`), added over ranks exactly: every rank gets the same scores, and
    any number of ranks those of one. Memory grows neither with the data set nor with its images.

    The logits of a whole data set are not kept: `describe` makes the sums of an image where the
    logits are. `uda.engine.validation` has the model do so.

    Args:
        pixels: How many pixels of an image the neighbourhood density is taken over. A density over
            fewer pixels is lower: compare only scores of the same number, and of the same images.
        temperature: Of the neighbourhood density.
        include_self: Of the neighbourhood density.
        collect_device: Accepted for mmengine's sake; sums travel by all-reduce.
        prefix: Put before every name, for several evaluators in one run.

    Attributes:
        last_sums: `PredictionSums` of each network in the last evaluation.

    Raises:
        ValueError: `pixels` below 2, or a temperature that is not above 0.
    """

    default_prefix = ""  # names already start with the network; None would make mmengine warn

    def __init__(
        self,
        *,
        pixels: int = 512,
        temperature: float = 0.05,
        include_self: bool = False,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if pixels < 2:
            raise ValueError(f"LabelFreeScores: pixels has to be at least 2, not {pixels}.")
        if not temperature > 0:
            raise ValueError(f"LabelFreeScores: temperature has to be above 0, not {temperature}.")
        self.pixels, self.temperature, self.include_self = pixels, temperature, include_self
        self.last_sums: dict[str, PredictionSums] = {}

    def describe(self, logits: Tensor, image_number: int) -> PredictionSums:
        """The sums of one image, to be put into its data sample as `student_sums`.

        Args:
            logits: (K, H, W) float.
            image_number: Position of the image in the data set.
        """
        return prediction_sums(
            logits,
            image_number,
            pixels=self.pixels,
            temperature=self.temperature,
            include_self=self.include_self,
        )

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Add one batch.

        Args:
            data_batch: Not used.
            data_samples: One dict per image with `student_sums`, `teacher_sums` or both, and the
                predictions as `SegmentationMetric` reads them.

        Raises:
            ValueError: A sample has no sums.
        """
        for sample in data_samples:
            held = {name: sample[SUMS.format(name)] for name in NETWORKS if _has(sample, name)}
            if not held:
                raise ValueError(
                    "LabelFreeScores: a data sample has neither student_sums nor teacher_sums "
                    f"({sample.get('img_path', 'no path given')}; it has {', '.join(sample)}); "
                    "validation with PromptValLoop puts them there, by `describe`."
                )
            classes = next(iter(held.values())).probs.shape[0]
            if not self.results:
                self.results.append(_nothing(classes))
            total = self.results[0]
            for name, sums in held.items():
                total[name] = total[name].plus(sums)
            if len(held) == len(NETWORKS):
                total["pairs"] = total["pairs"] + _pairs(sample, classes)

    def evaluate(self, size: int) -> dict[str, float]:
        """Return the scores over all ranks, print them, and start afresh.

        Args:
            size: Number of images in the data set; not used.

        Raises:
            ValueError: No image was evaluated.
        """
        classes = len((self.dataset_meta or {}).get("classes") or ())
        held = self.results[0] if self.results else _nothing(classes)
        self.results.clear()  # before anything can fail: the next evaluation starts from zero
        total = _over_ranks(held)
        scores: dict[str, float] = self.compute_metrics([total])
        images = max(int(sums.images) for sums in self.last_sums.values())
        print_log(
            f"Scores without labels over {images} images\n{score_table(scores)}", logger="current"
        )
        return {
            f"{self.prefix}/{name}" if self.prefix else name: value
            for name, value in scores.items()
        }

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Return the scores of sums over all images and remember the sums.

        Args:
            results: One dict with the sums of each network and `pairs`, pixels by the classes of
                student and teacher.
        """
        (total,) = results
        self.last_sums = {name: total[name] for name in NETWORKS if int(total[name].images)}
        if not self.last_sums:
            raise ValueError("LabelFreeScores: no image was evaluated; check the validation data.")
        scores: dict[str, float] = {}
        for name, sums in self.last_sums.items():
            found = label_free_scores(sums)
            if name == "student" and bool(total["pairs"].any()):
                found |= agreement_scores(total["pairs"])
            scores |= {f"{name}/{key}": _rounded(value) for key, value in found.items()}
        return scores


def _has(sample: Mapping[str, Any], network: str) -> bool:
    return sample.get(SUMS.format(network)) is not None


def _pairs(sample: Mapping[str, Any], classes: int) -> Tensor:
    """Pixels by the class of the student (rows) and of the teacher (columns)."""
    maps = {name: label_map(sample, key) for name, key in prediction_keys(sample).items()}
    # One past the last class: no pixel is ignored.
    return confusion_matrix(maps["teacher"], maps["student"], classes, ignore_index=classes).cpu()


def _nothing(classes: int) -> dict[str, Any]:
    """No sums; all ranks build the same shapes, so that they can be added."""
    pairs = torch.zeros(classes, classes, dtype=torch.int64)
    return {**{name: PredictionSums.zero(classes) for name in NETWORKS}, "pairs": pairs}


def _over_ranks(held: Mapping[str, Any]) -> dict[str, Any]:
    """The sums of all ranks; a rank without images adds nothing."""
    classes = len(held["pairs"])
    rows = [held[name].flat() for name in NETWORKS] + [held["pairs"].reshape(-1)]
    flat = torch.cat(rows)
    mmengine.dist.all_reduce(flat, "sum")  # int64: the sum is exact and has no order
    pieces = flat.split([len(row) for row in rows])
    return {
        **{
            name: PredictionSums.from_flat(piece, classes)
            for name, piece in zip(NETWORKS, pieces, strict=False)
        },
        "pairs": pieces[-1].view(classes, classes),
    }


def _rounded(value: float) -> float:
    return value if math.isnan(value) else round(value, _DIGITS)
