"""Hooks: logging without waiting for the device, pictures, random states, deploy checkpoints."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook, LoggerHook
from mmengine.registry import HOOKS

from uda.engine.deploy import write_deploy_checkpoints
from uda.engine.log import check_finite
from uda.engine.pictures import overview


def unwrapped(runner: Any) -> Any:
    """The model of a Runner, without the wrapper for several processes."""
    return getattr(runner.model, "module", runner.model)


@HOOKS.register_module()
class DeviceLogger(LoggerHook):
    """mmengine's logger, fed with the mean of each scalar over the interval.

    The model keeps its scalars on the device; they are fetched here, once an interval. A mean
    that is not finite stops the run.

    Args:
        interval: Iterations between two lines.
    """

    def __init__(self, *, interval: int = 50) -> None:
        super().__init__(interval=interval, interval_exp_name=10**9, log_metric_by_epoch=False)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Fetch and write, if it is time."""
        if self.every_n_inner_iters(batch_idx, self.interval):
            means = unwrapped(runner).log.pop()
            check_finite(means, runner.iter + 1, self.interval)
            for name, value in means.items():
                runner.message_hub.update_scalar(f"train/{name}", value)
        super().after_train_iter(runner, batch_idx, data_batch, outputs)


@HOOKS.register_module()
class PictureLog(Hook):
    """Writes source, target, pseudo-label and mixed image to TensorBoard now and then.

    Args:
        interval: Iterations between two pictures.
        images: How many images of the batch are drawn.
    """

    priority = "LOW"

    def __init__(self, *, interval: int = 1000, images: int = 2) -> None:
        self.interval, self.images = interval, images

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
        palette = runner.train_dataloader.dataset.metainfo["palette"]
        preprocessor = model.data_preprocessor
        picture = overview(
            tensors,
            palette=palette,
            mean=preprocessor.mean,
            std=preprocessor.std,
            images=self.images,
        )
        runner.visualizer.add_image("training", picture, step=runner.iter)


@HOOKS.register_module()
class RandomState(Hook):
    """Saves the state of all random generators, and goes on with it after a resume."""

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the states to the checkpoint, as tensors and plain numbers."""
        version, words, gauss = random.getstate()
        numpy_state: Any = np.random.get_state()  # noqa: NPY002 - the generator libraries use
        checkpoint["random_state"] = {
            "python": [version, list(words), gauss],
            "numpy": [
                numpy_state[1].tolist(),
                int(numpy_state[2]),
                int(numpy_state[3]),
                float(numpy_state[4]),
            ],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self._loaded = checkpoint.get("random_state")

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Restore the states before the first iteration after a resume."""
        if self._loaded is None or runner.iter == 0:
            return
        state, self._loaded = self._loaded, None
        version, words, gauss = state["python"]
        random.setstate((version, tuple(words), gauss))
        keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state(  # noqa: NPY002
            ("MT19937", np.array(keys, np.uint32), position, has_gauss, cached)
        )
        # mmengine reads a checkpoint onto the GPU; states have to lie on the host.
        torch.set_rng_state(state["torch"].cpu())
        if len(state["cuda"]) == torch.cuda.device_count():  # else: another machine
            torch.cuda.set_rng_state_all([device_state.cpu() for device_state in state["cuda"]])


@HOOKS.register_module()
class DeployCheckpoint(Hook):
    """Writes each network alone, with a plain mmseg config, when training ends.

    Args:
        folder: Name of the folder in the run's folder.
    """

    priority = "VERY_LOW"

    def __init__(self, *, folder: str = "deploy") -> None:
        self.folder = folder

    def after_train(self, runner: Any) -> None:
        """Write student and teacher."""
        if runner.rank == 0:
            write_deploy_checkpoints(
                Path(runner.work_dir) / self.folder,
                networks=unwrapped(runner).method.networks(),
                config=runner.cfg,
                metainfo=runner.train_dataloader.dataset.metainfo,
            )
