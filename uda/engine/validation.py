"""A validation that ends early when the run is told to stop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.registry import LOOPS
from mmengine.runner import ValLoop

from uda.engine.preemption import is_told


@LOOPS.register_module()
class PromptValLoop(ValLoop):
    """mmengine's loop of validation, which a signal to stop ends after the batch in progress.

    Nothing is scored then, and the run goes on to the iteration after which it saves and exits
    (`Preemption`). Hooks put back what they exchanged for the validation; as any validation, it
    leaves no trace in training.

    The validation after the last iteration is not cut short, since no restart would make it up. Nor
    are those of several processes, which wait for each other and have different numbers of batches.
    """

    def run(self) -> dict[str, float]:
        """The scores; none if the validation was cut short."""
        try:
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

    def run_iter(self, idx: int, data_batch: Sequence[dict[str, Any]]) -> None:
        """One batch, unless the run has been told to stop by now."""
        last = self.runner.iter >= self.runner.max_iters
        if not last and get_world_size() == 1 and is_told(self.runner):
            raise _CutShortError
        super().run_iter(idx, data_batch)


class _CutShortError(Exception):
    """Leaves the loop over the batches."""
