"""Hooks around checkpoints: networks to deploy, and loaded weights that have to fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import find_latest_checkpoint

from uda.engine.deploy import write_deploy_checkpoints
from uda.engine.hooks import unwrapped
from uda.models.state_dicts import class_counts, first_differences

_SHOWN = 3


@HOOKS.register_module()
class DeployCheckpoint(Hook):
    """Writes each network alone, with a plain mmseg config, with every checkpoint and at the end.

    A run that was stopped has the networks of its last checkpoint.

    Args:
        folder: Name of the folder in the run's folder.
    """

    priority = "VERY_LOW"

    def __init__(self, *, folder: str = "deploy") -> None:
        self.folder = folder

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Write what is being saved (mmengine comes here on rank 0 alone)."""
        self._write(runner)

    def after_train(self, runner: Any) -> None:
        """Write student and teacher."""
        if runner.rank == 0:
            self._write(runner)

    def _write(self, runner: Any) -> None:
        write_deploy_checkpoints(
            Path(runner.work_dir) / self.folder,
            networks=unwrapped(runner).method.networks(),
            config=runner.cfg,
            metainfo=runner.train_dataloader.dataset.metainfo,
        )


@HOOKS.register_module()
class FittingCheckpoint(Hook):
    """Refuses a checkpoint of other networks; mmengine would load the part that fits.

    `build_runner` adds it to every run.
    """

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Compare names and shapes with the run's.

        Raises:
            ValueError: The first that differ, and what kind of checkpoint is needed.
        """
        state = checkpoint.get("state_dict", checkpoint)
        state = {name.removeprefix("module."): value for name, value in state.items()}
        own = unwrapped(runner).state_dict()
        differences = first_differences(own, state)
        if not differences:
            return
        shown = "; ".join(differences[:_SHOWN])
        if len(differences) > _SHOWN:
            shown += f"; and {len(differences) - _SHOWN} more"
        shown += class_counts(own, state)
        single = not any(name.startswith("method.") for name in state)
        raise ValueError(
            f"{_origin(runner)} does not fit the networks of this run: {shown}. "
            + ("It holds one network alone, as deploy checkpoints do. " if single else "")
            + "--resume and load_from need a full checkpoint (iter_*.pth) of a run with the same "
            "network and method; use that run's config, or another work_dir to start afresh."
        )


def _origin(runner: Any) -> str:
    """The file being loaded, which mmengine does not tell its hooks."""
    file = runner.cfg.get("load_from") or find_latest_checkpoint(runner.work_dir)
    return str(file or "The checkpoint")
