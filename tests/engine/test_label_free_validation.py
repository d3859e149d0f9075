"""Scores without labels in a run: logged at each validation, without any label, and chosen by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmseg.structures import SegDataSample

from uda.engine.train import load_config
from uda.engine.validation import choose_metrics, number_images
from uda.evaluation import LabelFreeScores, SegmentationMetric
from uda.evaluation.label_free import SCORES

from .tiny_run import make_runner, write_config

WANTED = {
    *(f"{network}/{name}" for network in ("student", "teacher") for name in list(SCORES)[:4]),
    "student/agreement",
    "student/agreement_mIoU",
}


def logged(run: Path) -> list[dict[str, Any]]:
    """What each validation of a run wrote."""
    (file,) = run.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line for line in lines if "student/entropy" in line]


def unlabelled(config: Config) -> Config:
    """The config with a validation set of images alone."""
    dataset = config.val_dataloader.dataset
    dataset.label_dir = None
    dataset.pipeline = [step for step in dataset.pipeline if step.type != "LoadLabel"]
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config and its data."""
    return write_config(tmp_path_factory.mktemp("label_free")).parent


@pytest.fixture(scope="module")
def straight(folder: Path) -> Path:
    """A run with labelled validation images."""
    make_runner(folder / "config.py", folder / "straight").train()
    return folder / "straight"


def test_every_validation_logs_them(straight: Path) -> None:
    """Two validations, each with all scores beside mIoU."""
    lines = logged(straight)
    assert [line["step"] for line in lines] == [3, 6]
    assert all(line.keys() >= WANTED | {"student/mIoU"} for line in lines)
    assert lines[0]["student/entropy"] != lines[1]["student/entropy"]


def test_validation_without_label_files(
    folder: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No label file of the target exists: the same scores, no mIoU, a sentence, the best kept."""
    shutil.copytree(folder / "data", tmp_path / "data")
    shutil.rmtree(tmp_path / "data/val/labels")
    shutil.rmtree(tmp_path / "data/target/labels")
    config = unlabelled(load_config(write_config(tmp_path)))
    config.default_hooks.checkpoint.save_best = "student/entropy"
    runner = make_runner(config, tmp_path / "run")
    runner.train()
    lines = logged(tmp_path / "run")
    assert [{key: line[key] for key in WANTED} for line in lines] == [
        {key: line[key] for key in WANTED} for line in logged(straight)
    ]
    assert not any("mIoU" in key.split("/")[1][:4] for line in lines for key in line if "/" in key)
    log = next((tmp_path / "run").glob("*/*.log")).read_text()
    assert "validation set has no labels: scores that need none are logged, and no mIoU" in log
    lowest = min(lines, key=lambda line: line["student/entropy"])
    (best,) = (tmp_path / "run").glob("best_*.pth")
    assert best.name == f"best_student_entropy_iter_{lowest['step']}.pth"


def test_checks_of_settings(folder: Path) -> None:
    """A best checkpoint by what no validation will give is refused before anything is built."""
    from uda.engine.config import check_config

    config = unlabelled(load_config(folder / "config.py"))
    check_config(config)
    config.default_hooks.checkpoint.save_best = "student/mIoU"
    with pytest.raises(
        ValueError, match=r"save_best='student/mIoU' needs labels, and val_data.*one"
    ):
        check_config(config)
    config.default_hooks.checkpoint.save_best = "student/information"
    check_config(config)
    config.val_dataloader = config.val_evaluator = None
    with pytest.raises(
        ValueError, match=r"save_best='student/information' needs a validation: set"
    ):
        check_config(config)


def test_choose_metrics_values(tmp_path: Path) -> None:
    """What is added and what goes, by the data set and by how the config names metrics."""

    def chosen(*metrics: Any, labelled: bool, complete: bool) -> list[str]:
        evaluator = Evaluator(list(metrics))
        evaluator.dataset_meta = {"classes": ("a",)}
        choose_metrics(evaluator, labelled=labelled, complete=complete)
        assert all(metric.dataset_meta for metric in evaluator.metrics)
        return [type(metric).__name__ for metric in evaluator.metrics]

    both = ["SegmentationMetric", "LabelFreeScores"]
    assert chosen(SegmentationMetric(), labelled=True, complete=True) == both
    assert chosen(SegmentationMetric(), labelled=True, complete=False) == both[:1]
    assert chosen(LabelFreeScores(pixels=9), labelled=True, complete=True) == both[1:]
    assert chosen(SegmentationMetric(), labelled=False, complete=True) == both[1:]
    saving = SegmentationMetric(save_predictions=tmp_path)
    assert chosen(saving, labelled=False, complete=True) == both
    assert saving.format_only


def test_number_images_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards dealt to two processes: the second has images 1, 3, 5, then again 0 (of 7)."""
    samples = [SegDataSample() for _ in range(2)]
    number_images(samples, first=2, images=7)
    assert [sample.metainfo["image_number"] for sample in samples] == [2, 3]
    monkeypatch.setattr("uda.engine.validation.get_world_size", lambda: 2)
    monkeypatch.setattr("uda.engine.validation.get_rank", lambda: 1)
    number_images(samples, first=2, images=7)
    assert [sample.metainfo["image_number"] for sample in samples] == [5, 0]


def test_a_list_of_metrics_stands_as_it_is(straight: Path, folder: Path) -> None:
    """The way to leave the scores out: the run ends in the same weights."""
    config = load_config(folder / "config.py")
    config.val_evaluator = [{"type": "SegmentationMetric"}]
    make_runner(config, folder / "without").train()
    assert logged(folder / "without") == []
    (file,) = (folder / "without").glob("*/vis_data/scalars.json")
    assert "student/mIoU" in file.read_text()
    states = [
        torch.load(run / "iter_6.pth", weights_only=False)["state_dict"]
        for run in (straight, folder / "without")
    ]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
