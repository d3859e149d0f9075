"""Scoring a checkpoint: which network, which images, and what it predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from uda.engine.evaluate import (
    Evaluation,
    LoadedNetwork,
    evaluate,
    evaluation_dataset,
    load_network,
    network_state,
    without_labels,
    write_predictions,
)
from uda.engine.train import load_config
from uda.evaluation import SegmentationMetric, confusion_matrix

from .scoring import Checkpoints, write_checkpoints
from .tiny_run import CLASSES, model_config


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of a tiny run."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def config(files: Checkpoints) -> Config:
    """The run's config."""
    return load_config(files.config)


def scored(network: LoadedNetwork, config: Config, **settings: Any) -> Evaluation:
    """The score on the validation set, read in this process."""
    return evaluate(
        network, evaluation_dataset(config), metric=SegmentationMetric(), workers=0, **settings
    )


def test_load_network_from_every_checkpoint(files: Checkpoints, config: Config) -> None:
    """A deploy checkpoint knows its name; it holds the full checkpoint's weights of that name."""
    cases: list[tuple[Path, str | None, str]] = [
        (files.full, None, "student"),
        (files.full, "student", "student"),
        (files.full, "teacher", "teacher"),
        (files.deploy / "student.pth", None, "student"),
        (files.deploy / "teacher.pth", None, "teacher"),
        (files.deploy / "teacher.pth", "teacher", "teacher"),
    ]
    matrices = {"student": [], "teacher": []}
    for checkpoint, asked, expected in cases:
        network = load_network(config, checkpoint, asked)
        assert network.name == expected
        assert not network.segmentor.training
        matrices[expected].append(scored(network, config).matrix)
    for found in matrices.values():
        assert len(found) == 3
        assert all(torch.equal(matrix, found[0]) for matrix in found)
    assert not torch.equal(matrices["student"][0], matrices["teacher"][0])


def test_load_network_of_another_origin(files: Checkpoints, config: Config, tmp_path: Path) -> None:
    """A file that says nothing about itself goes by the name it is given, else as the student."""
    state = load_network(config, files.full).segmentor.state_dict()
    torch.save(state, tmp_path / "plain.pth")
    assert load_network(config, tmp_path / "plain.pth").name == "student"
    assert load_network(config, tmp_path / "plain.pth", "teacher").name == "teacher"


def test_load_network_errors(files: Checkpoints, config: Config, tmp_path: Path) -> None:
    """The other network's file, no such network, no such name, no file, another architecture."""
    with pytest.raises(ValueError, match=r"student.pth is a deploy .* holds the student only, not"):
        load_network(config, files.deploy / "student.pth", "teacher")
    state = torch.load(files.full, weights_only=True)["state_dict"]
    alone = {key: value for key, value in state.items() if ".teacher." not in key}
    torch.save({"state_dict": alone}, tmp_path / "iter_1.pth")
    with pytest.raises(ValueError, match=r"iter_1.pth holds no teacher; it holds: student\."):
        load_network(config, tmp_path / "iter_1.pth", "teacher")
    with pytest.raises(ValueError, match=r"one of \['student', 'teacher'\], not 'both'"):
        load_network(config, files.full, "both")
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "none.pth")):
        load_network(config, tmp_path / "none.pth")
    wider = model_config()
    wider["network"]["backbone"] = {**wider["network"]["backbone"], "widths": [8, 8, 16, 32]}
    wider["network"]["decode_head"] = {
        **wider["network"]["decode_head"], "in_channels": [8, 8, 16, 32]
    }  # fmt: skip
    other = Config({**config.to_dict(), "model": wider})
    message = r"student.pth do not fit EncoderDecoder: backbone\.\S+ is \(32, .* here and \(16, "
    with pytest.raises(ValueError, match=message):
        load_network(other, files.deploy / "student.pth")


def test_network_state_of_nothing() -> None:
    """A run's checkpoint without any network."""
    with pytest.raises(ValueError, match="a.pth holds no student; it holds: nothing"):
        network_state({"method.x": torch.zeros(1)}, "student", origin="a.pth")


def test_evaluation_dataset_values(config: Config) -> None:
    """A set changes the validation set where it says so; the config itself stays."""
    whole = evaluation_dataset(config)
    assert evaluation_dataset(config, "val") == whole
    bare = evaluation_dataset(config, "bare", labelled=False)
    assert (whole["label_dir"], bare["label_dir"]) == ("labels", None)
    assert [step["type"] for step in bare["pipeline"]] == ["LoadImage", "PackSegInputs"]
    assert len(config.val_dataloader.dataset.pipeline) == 3


def test_without_labels_of_mmseg_data_sets() -> None:
    """mmseg's own data sets name the label folder in `data_prefix`."""
    prefix = {"img_path": "images", "seg_map_path": "labels"}
    steps = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]
    found = without_labels({"data_prefix": prefix, "pipeline": steps})
    assert found == {"data_prefix": {"img_path": "images"}, "pipeline": steps[:1]}
    assert "seg_map_path" in prefix


def test_evaluation_dataset_errors(config: Config) -> None:
    """No such set, a set without labels, no validation data."""
    with pytest.raises(ValueError, match=r"config.py has no evaluation set 'night'; it has: val, "):
        evaluation_dataset(config, "night")
    with pytest.raises(ValueError, match=r"bare of .* has no labels .* --format-only with"):
        evaluation_dataset(config, "bare")
    changed = config.to_dict()
    del changed["evaluation_sets"]
    with pytest.raises(ValueError, match="it has: none \\(leave out --on"):
        evaluation_dataset(Config(changed), "night")
    with pytest.raises(ValueError, match="has no val_dataloader: scoring needs labelled images"):
        evaluation_dataset(Config({**changed, "val_dataloader": None}))


def test_evaluate_counts_what_is_saved(files: Checkpoints, config: Config, tmp_path: Path) -> None:
    """The teacher's maps lie in its own folder, and counting them by hand gives the matrix."""
    network = load_network(config, files.full, "teacher")
    metric = SegmentationMetric(save_predictions=tmp_path)
    result = evaluate(network, evaluation_dataset(config), metric=metric, workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]
    labels = files.config.parent / "data/val/labels"
    matrix = torch.zeros(3, 3, dtype=torch.int64)
    for name in ("0.png", "1.png"):
        pair = tmp_path / "teacher/images" / name, labels / name
        maps = [torch.from_numpy(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) for path in pair]
        matrix += confusion_matrix(maps[0], maps[1], 3)
    assert torch.equal(result.matrix, matrix)
    assert result.metrics["aAcc"] == round(100 * int(matrix.trace()) / int(matrix.sum()), 2)
    assert (list(result.classes), result.images) == (CLASSES, 2)


def test_write_predictions_needs_no_labels(
    files: Checkpoints, config: Config, tmp_path: Path
) -> None:
    """The same maps as scoring saves, for the set without labels as for the one with them."""
    network = load_network(config, files.full)
    metric = SegmentationMetric(save_predictions=tmp_path / "scored")
    evaluate(network, evaluation_dataset(config), metric=metric, workers=0)
    for name in ("val", "bare"):
        dataset = evaluation_dataset(config, name, labelled=False)
        assert write_predictions(network, dataset, folder=tmp_path / name, workers=0) == 2
        for image in ("0.png", "1.png"):
            maps = [
                cv2.imread(str(tmp_path / f / "student/images" / image), cv2.IMREAD_UNCHANGED)
                for f in ("scored", name)
            ]
            assert np.array_equal(*maps)


def test_evaluate_refuses_subsets_of_other_classes(files: Checkpoints, config: Config) -> None:
    """Before any image is read."""
    metric = SegmentationMetric(subsets=("16",))
    with pytest.raises(ValueError, match="leave out --classes for a data set .* no class 'road'"):
        evaluate(load_network(config, files.full), evaluation_dataset(config), metric=metric)
    assert metric.results == []
