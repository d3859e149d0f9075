"""mmengine's Runner, with checkpoints that are read as data."""

from __future__ import annotations

from typing import Any

from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from uda.engine.checkpoint_files import read_checkpoint
from uda.engine.hooks import unwrapped


@RUNNERS.register_module()
class AdaptationRunner(Runner):
    """mmengine's Runner, which reads checkpoints without running code in them.

    mmengine reads a file that holds more than tensors and plain values a second time, whole, and
    that executes what it says. Here such a file is refused, unless `trust_checkpoint` is set.

    Attributes:
        trust_checkpoint: Read checkpoints whole, code in them included.
    """

    trust_checkpoint: bool = False

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
