"""Deploy checkpoints with every checkpoint; checkpoints of other networks are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.fileio import get_file_backend
from torch import nn

from uda.engine.checkpoint_files import newest_checkpoint
from uda.engine.checkpoints import Checkpoint, DeployCheckpoint, FittingCheckpoint
from uda.engine.deploy import write_deploy_checkpoints
from uda.engine.log import DeviceScalars


def make_runner(work_dir: Path, **config: Any) -> Any:
    """As much of a Runner as the hooks use, around two weights."""
    model = nn.Module()
    model.method = nn.Linear(2, 1)
    model.method.networks = dict  # type: ignore[assignment]
    dataset = SimpleNamespace(metainfo={"classes": ["road"], "palette": [[0, 0, 0]]})
    return SimpleNamespace(
        model=model,
        cfg=config,
        work_dir=str(work_dir),
        rank=0,
        hooks=[],
        train_dataloader=SimpleNamespace(dataset=dataset),
    )


def test_deploy_is_written_with_every_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each save, and at the end on rank 0 alone."""
    written: list[Path] = []
    monkeypatch.setattr(
        "uda.engine.checkpoints.write_deploy_checkpoints",
        lambda folder, **_: written.append(folder),
    )
    hook, runner = DeployCheckpoint(folder="nets"), make_runner(tmp_path)
    hook.before_save_checkpoint(runner, {})
    assert written == [tmp_path / "nets"]
    runner.rank = 1
    hook.after_train(runner)
    assert len(written) == 1
    runner.rank = 0
    hook.after_train(runner)
    assert len(written) == 2


def test_deploy_errors(tmp_path: Path) -> None:
    """A network that mmseg could not load is refused by name."""
    with pytest.raises(TypeError, match="student is a Identity, not a SegmentationNetwork"):
        write_deploy_checkpoints(
            tmp_path / "deploy",
            networks={"student": nn.Identity()},
            config=None,  # type: ignore[arg-type]
            metainfo={"classes": ["road"], "palette": [[0, 0, 0]]},
        )


def test_fitting_checkpoint_values(tmp_path: Path) -> None:
    """The run's own weights pass, also as several processes name them."""
    runner = make_runner(tmp_path)
    state = runner.model.state_dict()
    FittingCheckpoint().after_load_checkpoint(runner, {"state_dict": state})
    wrapped = {f"module.{name}": value for name, value in state.items()}
    FittingCheckpoint().after_load_checkpoint(runner, {"state_dict": wrapped})


def test_fitting_checkpoint_errors(tmp_path: Path) -> None:
    """Another shape, another method and a network alone are told, with the file."""
    runner = make_runner(tmp_path, load_from="old/iter_3.pth")
    other = {"method.weight": torch.zeros(3, 2), "method.bias": torch.zeros(1)}
    message = (
        r"^old/iter_3.pth does not fit the networks of this run: method.weight is \(1, 2\) here "
        r"and \(3, 2\) in the file. --resume and load_from need a full checkpoint"
    )
    with pytest.raises(ValueError, match=message):
        FittingCheckpoint().after_load_checkpoint(runner, {"state_dict": other})
    runner.cfg.clear()
    runner.cfg["load_from"] = "run/iter_6.pth"
    single = {f"backbone.{i}": torch.zeros(1) for i in range(3)}
    message = r"^run/iter_6.pth .* not in the file; .*; and 2 more. It holds one network alone"
    with pytest.raises(ValueError, match=message):
        FittingCheckpoint().after_load_checkpoint(runner, {"state_dict": single})


class Saver(SimpleNamespace):
    """A Runner that writes a few bytes as its checkpoint, or has no room for them."""

    full = False

    def save_checkpoint(self, folder: str, name: str, **settings: Any) -> None:
        """Write them by the backend that the hook names."""
        if self.full:
            raise OSError("The disk is full: ...")
        backend = get_file_backend(backend_args=settings["backend_args"])
        backend.put(str(settings["meta"]["iter"]).encode(), str(Path(folder) / name))


def saving(folder: Path, hook: Checkpoint) -> Saver:
    """A Runner before its first iteration, and the hook prepared for it."""
    hub = SimpleNamespace(runtime_info={})
    hub.update_info = hub.runtime_info.__setitem__
    logger = SimpleNamespace(info=lambda *_: None)
    student = nn.Linear(1, 1)
    method = SimpleNamespace(student=student, trained=lambda: student)
    model = SimpleNamespace(log=DeviceScalars(), method=method)
    runner = Saver(work_dir=str(folder), rank=0, message_hub=hub, logger=logger, model=model)
    runner.hooks, runner.iter, runner.max_iters, runner.epoch = [hook], 0, 99, 0
    hook.before_train(runner)
    return runner


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_checkpoint_values(tmp_path: Path) -> None:
    """Every second of seven iterations, two kept with their digests, the newest named."""
    hook = Checkpoint(interval=2, max_keep_ckpts=2)
    runner = saving(tmp_path, hook)
    (tmp_path / "iter_50.pth").write_bytes(b"of an older run")
    for runner.iter in range(7):
        hook.after_train_iter(runner, runner.iter)
    kept = ["iter_4.pth", "iter_4.pth.sha256", "iter_50.pth", "iter_6.pth", "iter_6.pth.sha256"]
    assert names(tmp_path) == [*kept, "last_checkpoint"]
    assert newest_checkpoint(tmp_path) == tmp_path / "iter_6.pth"
    assert runner.message_hub.runtime_info["keep_ckpt_ids"] == [4, 6]


def test_checkpoint_on_a_full_disk(tmp_path: Path) -> None:
    """With one to keep, the old one stays until the new one stands."""
    hook = Checkpoint(interval=1, max_keep_ckpts=1)
    runner = saving(tmp_path, hook)
    hook.after_train_iter(runner, 0)
    runner.iter, runner.full = 1, True
    with pytest.raises(OSError, match="The disk is full"):
        hook.after_train_iter(runner, 1)
    assert newest_checkpoint(tmp_path) == tmp_path / "iter_1.pth"
    runner.iter, runner.full = 2, False
    hook.after_train_iter(runner, 2)
    assert names(tmp_path) == ["iter_3.pth", "iter_3.pth.sha256", "last_checkpoint"]


def test_checkpoint_of_no_numbers_errors(tmp_path: Path) -> None:
    """Weights that are NaN are not saved, and the last good checkpoint stays."""
    hook = Checkpoint(interval=1, max_keep_ckpts=1)
    runner = saving(tmp_path, hook)
    (tmp_path / ".a.png.7.partial").write_bytes(b"of a killed save")
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)
    runner.iter = 1
    nn.init.constant_(runner.model.method.student.bias, float("nan"))
    with pytest.raises(FloatingPointError, match="bias is NaN or infinite after iteration 2: noth"):
        hook.after_train_iter(runner, 1)
    assert names(tmp_path) == ["iter_1.pth", "iter_1.pth.sha256", "last_checkpoint"]


def test_checkpoint_errors() -> None:
    """Numbers out of range."""
    with pytest.raises(ValueError, match="interval has to be at least 1, not 0"):
        Checkpoint(interval=0)
    with pytest.raises(ValueError, match="max_keep_ckpts has to be at least 1, or -1 for all, not"):
        Checkpoint(max_keep_ckpts=0)
