"""One folder of TensorBoard for the whole run, however often it was stopped."""

from __future__ import annotations

from pathlib import Path

from mmengine.registry import VISBACKENDS
from mmengine.visualization import TensorboardVisBackend
from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"


@VISBACKENDS.register_module()
class RunTensorBoard(TensorboardVisBackend):
    """mmengine's backend for TensorBoard, whose curves go on after a resume.

    mmengine gives each start of a run a folder of its own, and TensorBoard shows each as another
    run. Here all of them write into `tensorboard` in the folder of the run. What a killed start
    had logged after the checkpoint that is resumed is hidden.

    Args:
        save_dir: Of one start, `RUN/TIME/vis_data`, as the Visualizer gives it.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(str(Path(save_dir).absolute().parents[1] / FOLDER))

    def go_on(self, iteration: int) -> None:
        """Hide what was logged for later iterations; call before the first figure.

        Args:
            iteration: After which the run goes on; 0: it begins.
        """
        if iteration == 0:
            return
        self.close()
        Path(self._save_dir).mkdir(parents=True, exist_ok=True)
        self._tensorboard = SummaryWriter(self._save_dir, purge_step=iteration + 1)
        self._env_initialized = True
