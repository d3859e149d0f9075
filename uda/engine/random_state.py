"""Random numbers that go on in a resumed run as if it had never stopped."""

from __future__ import annotations

import logging
import random
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import set_random_seed

from uda.engine.preemption import is_stopping


@HOOKS.register_module()
class RandomState(Hook):
    """Saves the random generators of every process, and goes on with them after a resume.

    Two runs agree to the bit, one straight and one stopped and resumed, because

    - a checkpoint holds the states of each process, by rank;
    - a validation leaves no trace: the states before it are restored after it (making its loader
      draws from torch's generator, and a resumed run does not repeat it);
    - weights loaded by `load_from` into a new run bring no states with them.

    Processes of one run begin with different states (seed + rank), as their images differ too. If
    a run is resumed with another number of processes, those that have a saved state take it, the
    others keep seed + rank, and a warning says so.
    """

    # Before mmengine's CheckpointHook, which saves on rank 0 alone: nothing can be gathered there.
    priority = "LOW"

    def __init__(self) -> None:
        self._loaded: list[dict[str, Any]] | None = None
        self._gathered: list[dict[str, Any]] | None = None

    def before_train(self, runner: Any) -> None:
        """Give each process numbers of its own."""
        if get_rank() > 0:
            set_random_seed(runner.seed + get_rank())

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self._loaded = checkpoint.get("random_states")

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Restore the states before the first iteration after a resume."""
        states, self._loaded, self._gathered = self._loaded, None, None
        if states is None or runner.iter == 0:  # 0: a new run that begins with loaded weights
            return
        if len(states) != get_world_size():
            print_log(
                f"The checkpoint holds the random states of {len(states)} processes, this run has "
                f"{get_world_size()}: it goes on, but not as the first one would have.",
                logger="current",
                level=logging.WARNING,
            )
        if get_rank() < len(states):
            restore_states(states[get_rank()])

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Gather the states of all processes if a checkpoint is about to be saved."""
        if get_world_size() > 1 and saves_now(runner):
            self._gathered = gather_states()

    def before_val(self, runner: Any) -> None:
        """Keep the states; a checkpoint of the best score holds them too."""
        self._gathered = gather_states()

    def after_val(self, runner: Any) -> None:
        """Go on as if there had been no validation."""
        if self._gathered is not None:
            restore_states(self._gathered[get_rank()])
            self._gathered = None

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Add the states to the checkpoint, by rank."""
        checkpoint["random_states"] = self._gathered or [current_states()]


def current_states() -> dict[str, Any]:
    """The states of Python, NumPy, torch and the current GPU, as tensors and plain numbers."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 - the generator libraries use
    return {
        "python": [version, list(words), gauss],
        "numpy": [
            numpy_state[1].tolist(),
            int(numpy_state[2]),
            int(numpy_state[3]),
            float(numpy_state[4]),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_states(states: dict[str, Any]) -> None:
    """Set the generators to `states`, from `current_states`; a GPU's only where there is one."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state(  # noqa: NPY002
        ("MT19937", np.array(keys, np.uint32), position, has_gauss, cached)
    )
    # mmengine reads a checkpoint onto the GPU; states have to lie on the host.
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"].cpu())


def gather_states() -> list[dict[str, Any]]:
    """The current states of all processes, by rank; every process has to call it."""
    gathered: list[dict[str, Any]] = all_gather_object(current_states())
    return gathered


def saves_now(runner: Any) -> bool:
    """Whether a checkpoint is saved after this iteration: by interval, at the end, or to stop."""
    return is_stopping(runner) or any(
        hook.every_n_train_iters(runner, hook.interval, hook.save_begin)
        or (hook.save_last and hook.is_last_train_iter(runner))
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook) and not hook.by_epoch
    )
