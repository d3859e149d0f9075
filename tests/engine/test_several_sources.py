"""A run on several source and target data sets, from config check to record and resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from uda.commands.check_data import main
from uda.engine.train import load_config

from .comparing import assert_same_run
from .test_resume import run
from .tiny_run import write_config


def config(folder: Path, **sampling: Any) -> Config:
    """The tiny run, its source and target images cut into two data sets each."""
    file = write_config(folder)
    text = file.read_text(encoding="utf-8") + (
        "\npairs = train_dataloader['dataset']\n"
        "for domain in ('source', 'target'):\n"
        "    pairs[domain] = [dict(pairs[domain], include=n) for n in ('[01].png', '[23].png')]\n"
        "del domain, pairs\n"
        f"train_dataloader['dataset']['sampling'] = dict(min_pixels=1, **{sampling!r})\n"
    )
    file.write_text(text, encoding="utf-8")
    loaded = load_config(file)
    loaded.custom_hooks = [
        {"type": "RandomState"},
        {"type": "DeployCheckpoint"},
        {"type": "TargetStatistics"},
    ]
    return loaded


@pytest.mark.parametrize("over", ["all", "each"])
def test_run_resume(tmp_path: Path, over: str) -> None:
    """It runs, its record tells of both sets, and it resumes to the bit."""
    given = config(tmp_path, over=over)
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    run(given, straight, "off")
    killed.mkdir()
    shutil.copy(straight / "iter_3.pth", killed)
    run(given, killed, "off")
    assert_same_run(straight / "iter_6.pth", killed / "iter_6.pth")
    record = json.loads((straight / "run.json").read_text())
    source = record["data"]["source"]
    assert (source["items"], source["1"]["items"], source["2"]["items"]) == (4, 2, 2)
    assert source["2"]["statistics"] is not None
    assert record["data"]["target"]["1"]["images"]["files"] == 2


def test_check_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each set is told of by its number; sampling is judged over all sources."""
    config(tmp_path)
    file = str(tmp_path / "config.py")
    assert main([file, "--workers", "1"]) == 0
    printed = capsys.readouterr().out
    for line in ("source 1: 2 images and 2 labels", "source 2: 2", "target 2: 2 images without"):
        assert line in printed
    (tmp_path / "data/source/images/2.png").write_bytes(b"")
    assert main([file, "--workers", "1"]) == 1
    assert "source 2" in capsys.readouterr().out
    shutil.copy(tmp_path / "data/source/images/3.png", tmp_path / "data/source/images/2.png")
    wanted = "train_dataloader.dataset.sampling.min_pixels=4000"
    assert main([file, "--workers", "1", "--cfg-options", wanted]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("rare class sampling cannot draw") == 1
    assert "all sources" in printed


WRONG = [
    ("train_dataloader.dataset.source", [], r"there is nothing to learn from"),
    ("train_dataloader.dataset.source.1.label_dir", None, r"dataset.source\[1\] has no label_dir"),
    (
        "train_dataloader.dataset.source.1.lable_dir",
        "x",
        r"\[1\]: FolderDataset .*'label_dir'",
    ),
    ("train_dataloader.dataset.target.1.classes", ["a"], "the target set"),
    ("train_dataloader.dataset.source.1.classes", ["a"], "the further source set"),
    ("train_dataloader.dataset.target", [], "target is an empty list; None trains on"),
    ("train_dataloader.dataset.target", 3, "target=3: wanted"),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG)
def test_config_errors(tmp_path: Path, place: str, value: Any, message: str) -> None:
    """What is wrong in one of several data sets is told with its place."""
    config(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "config.py", {place: value})
