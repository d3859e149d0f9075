"""TensorBoard shows a run as one, however often it was stopped."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from uda.engine.live.tensorboard import RunTensorBoard


def session(run: Path, name: str, after: int, steps: range) -> None:
    """A start of a run that logs the number of the session at some iterations."""
    backend = RunTensorBoard(str(run / name / "vis_data"))
    backend.add_config(Config({"a": 1}))
    backend.go_on(after)
    for step in steps:
        backend.add_scalar("loss", float(name), step)
    backend.close()


def test_tensorboard_resume(tmp_path: Path) -> None:
    """Killed after 6 and resumed from 3: what was logged after 3 is that of the second start."""
    session(tmp_path, "1", 0, range(1, 7))
    session(tmp_path, "2", 3, range(4, 6))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    curve = [(event.step, event.value) for event in events.Scalars("loss")]
    assert curve == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0)]
    assert [path.name for path in tmp_path.iterdir() if path.name != "tensorboard"] == []
