"""Deploy checkpoints with every checkpoint; checkpoints of other networks are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from uda.engine.checkpoints import DeployCheckpoint, FittingCheckpoint
from uda.engine.deploy import write_deploy_checkpoints


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
    (tmp_path / "last_checkpoint").write_text("run/iter_6.pth")
    single = {f"backbone.{i}": torch.zeros(1) for i in range(3)}
    message = r"^run/iter_6.pth .* not in the file; .*; and 2 more. It holds one network alone"
    with pytest.raises(ValueError, match=message):
        FittingCheckpoint().after_load_checkpoint(runner, {"state_dict": single})
