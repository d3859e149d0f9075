"""Hooks around checkpoints: networks to deploy, and loaded weights that have to fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS
from torch import Tensor

from uda.engine.best_score import direction
from uda.engine.checkpoint_files import BACKEND, LAST, WholeFiles
from uda.engine.deploy import write_deploy_checkpoints
from uda.engine.hooks import unwrapped
from uda.engine.preemption import exit_if_stopping
from uda.engine.random_state import saves_now
from uda.engine.target_statistics import evaluation_statistics
from uda.files import remove_partial_files, write_atomically
from uda.models.state_dicts import class_counts, first_differences

_SHOWN = 3


@HOOKS.register_module()
class Checkpoint(CheckpointHook):
    """Saves the whole run now and then, so that nothing is lost whenever it is killed.

    A file appears complete or not at all, with its SHA-256 beside it. An older one is removed only
    after the new one stands, so that a full disk leaves the last good one. When the run is told
    to stop (`Preemption`) it saves as well, and exits.

    Args:
        interval: Iterations between two checkpoints; the last iteration is saved always.
        max_keep_ckpts: How many to keep; -1 keeps all.
        save_best: Name of a score such as "student/mIoU", or, without looking at labels,
            "student/information": its best checkpoint is kept as well, without the optimiser.
            Whether higher is better is known (`direction`).

    Raises:
        ValueError: A number is out of range, or there is no such score.
    """

    saves_when_stopping = True

    def __init__(
        self, *, interval: int = 2000, max_keep_ckpts: int = 2, save_best: str | None = None
    ) -> None:
        if interval < 1:
            raise ValueError(f"Checkpoint: interval has to be at least 1, not {interval}.")
        if max_keep_ckpts < 1 and max_keep_ckpts != -1:
            raise ValueError(
                f"Checkpoint: max_keep_ckpts has to be at least 1, or -1 for all, not "
                f"{max_keep_ckpts}."
            )
        super().__init__(
            interval=interval,
            by_epoch=False,
            max_keep_ckpts=max_keep_ckpts,
            save_best=save_best,
            rule=None if save_best is None else direction(save_best),
            backend_args=BACKEND,
        )

    def before_train(self, runner: Any) -> None:
        """Find the folder, and the best checkpoint of a run that is resumed."""
        self.out_dir: str = runner.work_dir
        if runner.rank == 0:  # what a kill in the middle of a save has left
            remove_partial_files(self.out_dir)
        self.file_backend = WholeFiles()
        self.best_ckpt_path = runner.message_hub.runtime_info.get("best_ckpt")

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save if it is time; exit if the run was told to stop."""
        if saves_now(runner):
            runner.logger.info(f"Saving checkpoint at {runner.iter + 1} iterations")
            unwrapped(runner).log.average()  # only one process writes its open sums
            self._save_checkpoint(runner)
        exit_if_stopping(runner)

    def _save_best_checkpoint(self, runner: Any, metrics: Any) -> None:
        """Save the best, and only then remove the former best."""
        former, self.best_ckpt_path = self.best_ckpt_path, None
        super()._save_best_checkpoint(runner, metrics)
        if self.best_ckpt_path is None:
            self.best_ckpt_path = former
            return
        replaced = former is not None and former != self.best_ckpt_path
        if replaced and runner.rank == 0 and Path(former).is_file():
            self.file_backend.remove(former)

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict[str, Any]) -> None:
        """Save, and only then remove what is one too many."""
        check_weights(runner)
        hub = runner.message_hub
        before = hub.runtime_info.get("keep_ckpt_ids", [])
        saved = [s for s in before if s != step] + [step]
        keep = saved if self.max_keep_ckpts < 0 else saved[-self.max_keep_ckpts :]
        self.last_ckpt = str(self._file(step))
        hub.update_info("keep_ckpt_ids", keep)
        hub.update_info("last_ckpt", self.last_ckpt)
        try:
            runner.save_checkpoint(
                self.out_dir,
                self.filename_tmpl.format(step),
                meta=meta,
                by_epoch=False,
                backend_args=self.backend_args,
            )
        except OSError:
            hub.update_info("keep_ckpt_ids", before)
            raise
        if runner.rank != 0:
            return
        write_atomically(Path(runner.work_dir) / LAST, self.last_ckpt.encode())
        for old in sorted(set(saved) - set(keep)):
            if self._file(old).is_file():
                self.file_backend.remove(self._file(old))

    def _file(self, step: int) -> Path:
        return Path(self.out_dir) / self.filename_tmpl.format(step)


def check_weights(runner: Any) -> None:
    """Refuse to save weights that are no numbers; the last good checkpoint would go for them.

    Raises:
        FloatingPointError: Names the first parameter and the checkpoint that is left.
    """
    parameters = dict(unwrapped(runner).method.trained().named_parameters())
    finite = torch.stack([p.detach().isfinite().all() for p in parameters.values()])
    if not bool(finite.all()):
        name = list(parameters)[int(finite.logical_not().nonzero()[0])]
        raise FloatingPointError(
            f"{name} is NaN or infinite after iteration {runner.iter + 1}: nothing is saved, the "
            f"last good checkpoint in {runner.work_dir} stays. Lower the learning rate, or train "
            "with --amp off if half precision is on."
        )


@HOOKS.register_module()
class DeployCheckpoint(Hook):
    """Writes each network alone, with a plain mmseg config, with every checkpoint and at the end.

    The networks are those that validation scores, with `TargetStatistics` if the run has it.

    A run that was stopped has the networks of its last checkpoint.

    Args:
        folder: Name of the folder in the run's folder.
    """

    priority = "VERY_LOW"

    def __init__(self, *, folder: str = "deploy") -> None:
        self.folder = folder

    def before_train(self, runner: Any) -> None:
        """Remove what a kill in the middle of a save has left."""
        folder = Path(runner.work_dir) / self.folder
        if runner.rank == 0 and folder.is_dir():
            remove_partial_files(folder)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Write what is being saved (mmengine comes here on rank 0 alone)."""
        self._write(runner)

    def after_train(self, runner: Any) -> None:
        """Write student and teacher."""
        if runner.rank == 0:
            self._write(runner)

    def _write(self, runner: Any) -> None:
        with evaluation_statistics(runner):
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
        origin = runner.cfg.get("load_from") or "The checkpoint"
        told = misfit(unwrapped(runner).state_dict(), state, origin)
        if told is not None:
            raise ValueError(told)


def misfit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], origin: str) -> str | None:
    """The sentence for a checkpoint of other networks; None if it fits.

    Args:
        own: Weights of the run by name.
        state: Those of the checkpoint, with or without a leading "module.".
        origin: Where they come from.
    """
    state = {name.removeprefix("module."): value for name, value in state.items()}
    differences = first_differences(own, state)
    if not differences:
        return None
    shown = "; ".join(differences[:_SHOWN])
    if len(differences) > _SHOWN:
        shown += f"; and {len(differences) - _SHOWN} more"
    shown += class_counts(own, state)
    single = not any(name.startswith("method.") for name in state)
    return (
        f"{origin} does not fit the networks of this run: {shown}. "
        + ("It holds one network alone, as deploy checkpoints do. " if single else "")
        + "--resume and load_from need a full checkpoint (iter_*.pth) of a run with the same "
        "network and method; use that run's config, or another work_dir to start afresh."
    )
