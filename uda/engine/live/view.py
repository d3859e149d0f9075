"""The hook that makes curves of what a training step tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

from uda.engine.hooks import DeviceLogger, unwrapped
from uda.engine.live.rates import LearningRates
from uda.engine.live.step_watch import StepWatch
from uda.engine.live.used_memory import used_memory
from uda.engine.random_state import saves_now

BETWEEN = "data"


@HOOKS.register_module()
class LiveView(Hook):
    """Adds to each line of the scalar log and to TensorBoard how the run is.

    | figures | what |
    | --- | --- |
    | `pseudo/...`, `classes/...` | pseudo-labels, over the target pixels of the interval |
    | `lr/...` | learning rates by part of the network |
    | `time/...` | seconds of each phase in the mean iteration of the interval |
    | `memory/...` | MiB |

    docs/live_view.md says what each means. Numbers are added up on the device and fetched once an
    interval; no random number is drawn, so that losses are the same with and without. Shares are
    those of all processes, times and memory those of the first. Sums of an interval that is not
    over are saved with a checkpoint.

    Args:
        enabled: False: nothing is watched.
        interval: Iterations between two points of the curves, a multiple of the logger's interval;
            None: each line of the log.
        stride: Distance of the pixels looked at, in rows and columns; see `PseudoLabelSums`.

    Raises:
        ValueError: A number is out of range, or the interval is no multiple of the logger's.
    """

    priority = "LOW"  # after the log line, before a checkpoint is saved

    def __init__(
        self, *, enabled: bool = True, interval: int | None = None, stride: int = 4
    ) -> None:
        if stride < 1 or (interval is not None and interval < 1):
            raise ValueError(
                f"LiveView: interval and stride have to be at least 1, not {interval} and {stride}."
            )
        self.enabled, self.interval, self.stride = enabled, interval, stride
        self.watch: StepWatch | None = None
        self._rates: LearningRates | None = None
        self._loaded: Mapping[str, Tensor] = {}
        self._saved: dict[str, Tensor] | None = None

    def before_run(self, runner: Any) -> None:
        """Have the end of each iteration noticed, after all other hooks."""
        if self.enabled:
            # The last of the list, which is being gone through.
            runner.register_hook(_EndOfIteration(self), priority="LOWEST")

    def before_train(self, runner: Any) -> None:
        """Begin to watch."""
        if not self.enabled:
            return
        logger = next((hook for hook in runner.hooks if isinstance(hook, DeviceLogger)), None)
        if logger is None:
            return
        if self.interval is not None and self.interval % logger.interval:
            raise ValueError(
                f"LiveView: interval={self.interval} has to be a multiple of the logger's, "
                f"{logger.interval}, as its figures are written with the lines of the log."
            )
        model = unwrapped(runner)
        device = next(model.parameters()).device
        model.live = self.watch = StepWatch.on(
            device, num_classes=model.num_classes, stride=self.stride
        )
        self.watch.sums.load_state_dict(self._loaded)
        self._rates = LearningRates(runner.optim_wrapper, model.method.trained())
        logger.further.append(self.figures)
        self.watch.clock.start(BETWEEN)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """The batch is there."""
        self._saved = None
        if self.watch is not None:
            self.watch.clock.begin()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep the sums of all processes if a checkpoint is about to be saved."""
        if self.watch is not None and get_world_size() > 1 and saves_now(runner):
            self._keep(self.watch)

    def end_iteration(self) -> None:
        """All hooks have had their turn."""
        if self.watch is not None:
            self.watch.clock.finish(BETWEEN)

    def before_val(self, runner: Any) -> None:
        """Keep the sums of all processes: a checkpoint of the best score holds them too."""
        if self.watch is not None:
            self._keep(self.watch)

    def after_val(self, runner: Any) -> None:
        """A validation is no part of any iteration."""
        if self.watch is not None:
            self.watch.clock.start(BETWEEN)

    def after_train(self, runner: Any) -> None:
        """Nobody watches any more."""
        unwrapped(runner).live = self.watch = None

    def figures(self, runner: Any) -> dict[str, float]:
        """What is added to a line of the log; every process has to call it."""
        if self.watch is None or self._rates is None:
            return {}
        if self.interval is not None and (runner.iter + 1) % self.interval:
            return {}
        names = runner.train_dataloader.dataset.metainfo["classes"]
        device = next(unwrapped(runner).parameters()).device
        self.watch.sums.average()
        found = self.watch.sums.pop(names)  # waits for the device, so that the clock has not to
        rest = {
            "lr": self._rates.now(),
            "time": self.watch.clock.pop(),
            "memory": used_memory(device),
        }
        found |= {f"{kind}/{n}": value for kind, by in rest.items() for n, value in by.items()}
        return found

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the sums of an interval that is not over, so that a resumed run logs the same."""
        if self.watch is not None:
            checkpoint["live_sums"] = self._saved or self.watch.sums.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with the sums of a run that is resumed."""
        if runner.cfg.get("resume"):
            self._loaded = checkpoint.get("live_sums", {})

    def _keep(self, watch: StepWatch) -> None:
        """Remember the mean of the sums over the processes, for rank 0 to save alone."""
        watch.sums.average()
        self._saved = watch.sums.state_dict()


class _EndOfIteration(Hook):
    """Tells a `LiveView` that all other hooks are done."""

    def __init__(self, view: LiveView) -> None:
        self.view = view

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Tell it."""
        self.view.end_iteration()
