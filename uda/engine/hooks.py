"""Hooks: logging without waiting for the device, and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mmengine.dist import get_rank
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS

from uda.engine.live.tensorboard import RunTensorBoard
from uda.engine.pictures import overview, predictions

_HISTORY = 1000  # values of a logged scalar that are kept at least


def unwrapped(runner: Any) -> Any:
    """The model of a Runner, without the wrapper for several processes."""
    return getattr(runner.model, "module", runner.model)


@HOOKS.register_module()
class DeviceLogger(LoggerHook):
    """mmengine's logger, fed with the mean of each scalar over the interval.

    The model keeps its scalars on the device; they are fetched here, once an interval.

    Args:
        interval: Iterations between two lines.

    Attributes:
        means: What was fetched last.
        further: Functions of the Runner that give more figures for the scalar log and TensorBoard,
            which are not printed; called in every process, at each line.
        last: All figures of the last line.
    """

    def __init__(self, *, interval: int = 50) -> None:
        super().__init__(interval=interval, interval_exp_name=10**9, log_metric_by_epoch=False)
        self.means: dict[str, float] = {}
        self.further: list[Callable[[Any], Mapping[str, float]]] = []
        self.last: dict[str, float] = {}
        self._fetched = -1

    def before_train(self, runner: Any) -> None:
        """Go on with the curves in TensorBoard where a resumed run goes on."""
        visualizer = runner.visualizer
        for backend in visualizer._vis_backends.values():
            if isinstance(backend, RunTensorBoard) and get_rank() == 0:
                backend.go_on(runner.iter)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Fetch and write, if it is time."""
        if not self.fetch(runner, batch_idx):
            return
        for name, value in self.means.items():
            runner.message_hub.update_scalar(f"train/{name}", value)
        bound_histories(runner)
        # These go past the message hub, which copies its histories in every iteration and saves
        # them with every checkpoint; and come first, as mmengine's line resets a count of memory.
        more = {name: value for one in self.further for name, value in one(runner).items()}
        figures, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
        self.last = {**figures, **more}
        runner.logger.info(line)
        runner.visualizer.add_scalars(self.last, step=runner.iter + 1, file_path=self.json_log_path)

    def fetch(self, runner: Any, batch_idx: int) -> bool:
        """Fetch the means, once, if this iteration ends an interval.

        A hook that looks at them before they are written asks for it first.

        Returns:
            Whether `means` are those of the interval that has just ended.
        """
        due: bool = self.every_n_inner_iters(batch_idx, self.interval)
        if due and self._fetched != runner.iter:
            unwrapped(runner).log.average()
            self.means, self._fetched = unwrapped(runner).log.pop(), runner.iter
        return due

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the sums of an interval that is not over, so that a resumed run logs the same."""
        checkpoint["log_sums"] = unwrapped(runner).log.state_dict()

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Go on with the sums of a run that is resumed."""
        if runner.cfg.get("resume"):
            unwrapped(runner).log.load_state_dict(checkpoint.get("log_sums", {}))


def bound_histories(runner: Any) -> None:
    """Keep the latest values of each logged scalar, as many as the log's windows can ask for.

    mmengine keeps a million, among them time and learning rate of every iteration, copies them all
    in every iteration and saves them with every checkpoint. A window named in words ("global")
    asks for all of them and gets them.
    """
    processor = runner.log_processor
    windows = [processor.window_size, *(c.get("window_size", 1) for c in processor.custom_cfg)]
    if all(isinstance(window, int) for window in windows):
        for history in runner.message_hub.log_scalars.values():
            history.max_length = max(_HISTORY, *windows)


@HOOKS.register_module()
class PictureLog(Hook):
    """Writes a picture of a batch to TensorBoard now and then, as `training`.

    Source, target, pseudo-label with rejected pixels hatched, mixed image, what student and teacher
    make of the target, and a legend. Networks predict in evaluation mode; no random number is
    drawn and no running statistic moves.

    Args:
        interval: Iterations between two pictures.
        images: How many images of the batch are drawn.
        width: Of each tile, in pixels.
    """

    priority = "LOW"

    def __init__(self, *, interval: int = 1000, images: int = 2, width: int = 320) -> None:
        self.interval, self.images, self.width = interval, images, width

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Ask the method to keep its tensors in this iteration."""
        if runner.iter % self.interval == 0:
            unwrapped(runner).method.visuals = {}

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw what was kept."""
        model = unwrapped(runner)
        tensors, model.method.visuals = model.method.visuals, None
        if not tensors:
            return
        if get_rank() > 0:
            return
        meta = runner.train_dataloader.dataset.metainfo
        preprocessor = model.data_preprocessor
        tensors = {name: value[: self.images] for name, value in tensors.items()}
        image = tensors.get("target_image", tensors.get("source_image"))
        picture = overview(
            tensors,
            predictions(model.method.networks(), image),
            palette=meta["palette"],
            class_names=meta["classes"],
            mean=preprocessor.mean,
            std=preprocessor.std,
            width=self.width,
        )
        runner.visualizer.add_image("training", picture, step=runner.iter)
