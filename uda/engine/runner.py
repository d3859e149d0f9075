"""mmengine's Runner, with checkpoints that are read as data and a console one can read."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner, ValLoop

from uda.engine.checkpoint_files import read_checkpoint
from uda.engine.hooks import unwrapped
from uda.engine.live.progress import ProgressLine
from uda.engine.validation import PromptValLoop

# How messages begin that fill screens or mean nothing to whoever starts a run.
_FILE_ONLY = (
    "\n------------------------------------------------------------\nSystem environment:",
    "Config:\n",
    "Hooks will be executed in the following order:",
    "Distributed training is not used, all SyncBatchNorm",
    "Checkpoints will be saved to",
    "Exp name: ",
)
# What clusters tell a job to stop with; `Preemption` hears the first, or those it is given.
STOP_SIGNALS = ("SIGTERM", "SIGUSR1", "SIGUSR2")
# Advice of mmengine to itself, as warnings.
_NOISE = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias')


@RUNNERS.register_module()
class AdaptationRunner(Runner):
    """mmengine's Runner, which reads checkpoints without running code in them.

    mmengine reads a file that holds more than tensors and plain values a second time, whole, and
    that executes what it says. Here such a file is refused, unless `trust_checkpoint` is set.

    The console gets what happens. The whole config, the environment and the order of the hooks go
    to the log file in the run's folder alone.

    Attributes:
        trust_checkpoint: Read checkpoints whole, code in them included.
    """

    trust_checkpoint: bool = False

    def build_logger(
        self, log_level: int | str = "INFO", log_file: str | None = None, **settings: Any
    ) -> logging.Logger:
        """The logger of mmengine, whose console leaves out what only the file is for."""
        logger: logging.Logger = super().build_logger(log_level, log_file, **settings)
        for handler in logger.handlers:
            # A file's handler is a StreamHandler too.
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(is_for_the_console)
        logger.info(f"The run's folder is {self.work_dir}; its log has the config as used.")
        return logger

    @staticmethod
    def build_dataloader(*arguments: Any, **settings: Any) -> Any:
        """The loader of mmengine, whose processes leave signals to the training process."""
        loader = Runner.build_dataloader(*arguments, **settings)
        loader.worker_init_fn = partial(start_worker, loader.worker_init_fn)
        # Runs before multiprocessing's own, which asks by SIGTERM and would wait for ever.
        atexit.register(end_workers)
        return loader

    def build_val_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """The loop of mmengine, as one that a signal to stop cuts short."""
        if isinstance(loop, dict) and loop.get("type", "ValLoop") in ("ValLoop", ValLoop):
            loop = {**loop, "type": PromptValLoop}
        return super().build_val_loop(loop)

    def train(self) -> Any:
        """Train; whatever happens, the terminal is given back before an error is told."""
        try:
            return super().train()
        finally:
            for hook in self.hooks:
                if isinstance(hook, ProgressLine):
                    hook.close()

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = True,
        revise_keys: Any = (),
    ) -> dict[str, Any]:
        """Read a checkpoint, show it to the hooks, and load its weights.

        Args:
            filename: A file of this machine.
            map_location: Where tensors go.
            strict: All names have to agree; a hook of every run (`FittingCheckpoint`) has told
                first where they do not.
            revise_keys: Not used: names are those of the model, with or without "module.".

        Returns:
            The checkpoint.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, or holds more than tensors and plain values.
        """
        checkpoint = read_checkpoint(
            filename, map_location=map_location, trust=self.trust_checkpoint
        )
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        state = checkpoint.get("state_dict", checkpoint)
        state = {name.removeprefix("module."): value for name, value in state.items()}
        unwrapped(self).load_state_dict(state, strict=strict)
        self._has_loaded = True
        self.logger.info(f"Load checkpoint from {filename}")
        return checkpoint


def start_worker(initialise: Callable[[int], None] | None, worker: int) -> None:
    """Begin a loader process: it ignores the signals that clusters send to a whole job.

    It ends with the training process (`end_workers`; torch's own watch over its parent), which
    finishes its iteration first. Torch would have it die at once and take the training process
    along.

    Args:
        initialise: What else a loader process does at its start.
        worker: Its number.
    """
    for name in STOP_SIGNALS:
        if hasattr(signal, name):  # Windows has the first alone
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if initialise is not None:
        initialise(worker)


def end_workers() -> None:
    """End the loader processes that are still there, as they do not listen to SIGTERM."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would raise at each of them
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def is_for_the_console(record: logging.LogRecord) -> bool:
    r"""Whether a message is for whoever watches, and not only for the log file.

    >>> def record(text: str) -> logging.LogRecord:
    ...     return logging.LogRecord("uda", logging.INFO, "", 0, text, None, None)
    >>> is_for_the_console(record("Iter(train) [50/600]"))
    True
    >>> is_for_the_console(record("Config:\nclasses = ..."))
    False
    """
    told = record.getMessage()
    if told.startswith(_NOISE):
        return False
    return record.levelno > logging.INFO or not told.startswith(_FILE_ONLY)
