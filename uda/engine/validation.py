"""Validation: what is scored with labels and without, and an early end when told to stop."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import ValLoop

from uda.engine.hooks import unwrapped
from uda.engine.inference import LABEL_LOADERS
from uda.engine.preemption import is_told
from uda.evaluation import LabelFreeScores, SegmentationMetric
from uda.evaluation.label_free.metric import IMAGE_NUMBER


@LOOPS.register_module()
class PromptValLoop(ValLoop):
    """mmengine's loop of validation, with scores without labels, and cut short by a signal to stop.

    Where the config's evaluator is a single metric, `LabelFreeScores` joins it; a list of metrics
    stands as it is. A data set without labels gives those scores and no mIoU, and a line of the log
    says so. See docs/checkpoint_choice.md.

    A signal to stop ends it after the batch in progress. Nothing is scored then, and the run goes
    on to the iteration after which it saves and exits (`Preemption`). Hooks put back what they
    exchanged for the validation; as any validation, it leaves no trace in training.

    The validation after the last iteration is not cut short, since no restart would make it up. Nor
    are those of several processes, which wait for each other and have different numbers of batches.
    """

    def __init__(self, runner: Any, dataloader: Any, evaluator: Any, *, fp16: bool = False) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        choose_metrics(
            self.evaluator,
            labelled=reads_labels(self.dataloader.dataset),
            complete=not isinstance(evaluator, (list, Evaluator)),
        )

    def run(self) -> dict[str, float]:
        """The scores; none if the validation was cut short."""
        try:
            with describing(unwrapped(self.runner), self.evaluator):
                scores: dict[str, float] = super().run()
        except _CutShortError:
            for metric in self.evaluator.metrics:
                metric.results.clear()
            print_log(
                "Told to stop: the validation is cut short.",
                logger="current",
                level=logging.WARNING,
            )
            self.runner.call_hook("after_val")
            return {}
        return scores

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """One batch, unless the run has been told to stop by now."""
        last = self.runner.iter >= self.runner.max_iters
        if not last and get_world_size() == 1 and is_told(self.runner):
            raise _CutShortError
        number_images(
            data_batch["data_samples"],
            first=idx * (self.dataloader.batch_size or 1),
            images=len(self.dataloader.dataset),
        )
        super().run_iter(idx, data_batch)


class _CutShortError(Exception):
    """Leaves the loop over the batches."""


def reads_labels(dataset: Any) -> bool:
    """Whether the pipeline of a data set reads labels; yes where it has none that can be seen."""
    steps = getattr(getattr(dataset, "pipeline", None), "transforms", None)
    return steps is None or any(type(step).__name__ in LABEL_LOADERS for step in steps)


def choose_metrics(evaluator: Evaluator, *, labelled: bool, complete: bool) -> None:
    """Give an evaluator the metrics that a data set allows.

    Args:
        evaluator: Its list of metrics is changed.
        labelled: Whether the data set reads labels. If not, `SegmentationMetric` goes, or only
            saves predictions if it was told to.
        complete: Add `LabelFreeScores` if there is none.
    """
    metrics = list(evaluator.metrics)
    if complete and not any(isinstance(metric, LabelFreeScores) for metric in metrics):
        metrics.append(LabelFreeScores())
    scored = [m for m in metrics if isinstance(m, SegmentationMetric) and not m.format_only]
    if scored and not labelled:
        print_log(
            "The validation set has no labels: scores that need none are logged, and no mIoU "
            "(docs/checkpoint_choice.md).",
            logger="current",
        )
        for metric in scored:
            if metric.save_predictions is None:
                metrics.remove(metric)
            else:
                metric.format_only = True
    evaluator.metrics = metrics
    evaluator.dataset_meta = evaluator.dataset_meta  # which hands it to the metrics


@contextmanager
def describing(model: Any, evaluator: Evaluator) -> Iterator[None]:
    """Run a block in which the model makes the sums that `LabelFreeScores` needs, if it is there.

    Args:
        model: A `DomainAdaptation`.
        evaluator: Of the validation.
    """
    found = [m for m in evaluator.metrics if isinstance(m, LabelFreeScores)]
    model.describe = found[0].describe if found else None
    try:
        yield
    finally:
        model.describe = None


def number_images(samples: Sequence[Any], *, first: int, images: int) -> None:
    """Write into each data sample of a batch which image of the data set it is.

    mmengine's sampler deals images out to the processes like cards, and begins again at the first
    where it fills up a last round.

    Args:
        samples: Of a batch.
        first: How many images this process has seen before.
        images: Of the data set.
    """
    for place, sample in enumerate(samples, start=first):
        number = (place * get_world_size() + get_rank()) % images
        sample.set_metainfo({IMAGE_NUMBER: number})
