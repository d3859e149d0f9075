"""The small configs of HIAST and its relatives run; the large ones build their method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from uda.data.pseudo_labels import SUFFIX, LabelledImage, Manifest
from uda.engine.hooks import unwrapped
from uda.engine.model import build_method
from uda.engine.train import load_config
from uda.models import SegmentationNetwork

from .tiny_run import PROJECT, make_runner, model_config

CONFIGS = sorted(path.name for path in (PROJECT / "configs/hiast").glob("*.py"))
SMALL = [name for name in CONFIGS if name.startswith("camvid")]
SHAPE = (120, 160)


def write_set(root: Path, settings: Any, generator: np.random.Generator) -> None:
    """Two images for a `FolderDataset`, with labels if it has any."""
    classes = len(settings["classes"])
    for index in range(2):
        for key, suffix, shape in (
            ("image_dir", settings.get("image_suffix", ".png"), (*SHAPE, 3)),
            ("label_dir", settings.get("label_suffix", ".png"), SHAPE),
        ):
            if settings.get(key) is None:
                continue
            path = root / settings[key] / f"{index}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = generator.integers(0, 256 if key == "image_dir" else classes, shape)
            assert cv2.imwrite(str(path), pixels.astype(np.uint8))


def write_labels(folder: Path, classes: list[str], generator: np.random.Generator) -> None:
    """Pseudo-labels of the two images, half of them ignored."""
    folder.mkdir(parents=True)
    images = []
    for index in range(2):
        label = generator.integers(0, 2 * len(classes), SHAPE)
        label[label >= len(classes)] = 255
        assert cv2.imwrite(str(folder / f"{index}{SUFFIX}"), label.astype(np.uint8))
        pixels = tuple(int((label == k).sum()) for k in range(len(classes)))
        images.append(LabelledImage(f"{index}.jpg", f"{index}{SUFFIX}", SHAPE, pixels, pixels))
    Manifest(classes, images, [0.9] * len(classes)).write(folder)


def shrunk(config: Config, root: Path) -> Config:
    """Made-up data, no weights from a package, two iterations."""
    generator = np.random.default_rng(0)
    dataset = config.train_dataloader.dataset
    sets = [dataset.get("source"), dataset.target, config.val_dataloader.dataset]
    for settings in filter(None, sets):
        settings.data_root = str(root)
        write_set(root, settings, generator)
    if dataset.type == "PseudoLabelledTarget":
        write_labels(root / "pseudo", list(dataset.target.classes), generator)
        dataset.target.update(label_dir="pseudo", label_suffix=SUFFIX)
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    config.train_dataloader.batch_size = 2
    config.model.network.backbone.weights = None
    config.train_cfg.update(max_iters=2, val_interval=2)
    return config


@pytest.mark.parametrize("name", SMALL)
def test_small_configs_run(name: str, tmp_path: Path) -> None:
    """Two iterations and a validation with the config's own method, pipeline and schedule."""
    config = shrunk(load_config(PROJECT / "configs/hiast" / name), tmp_path / "data")
    runner = make_runner(config, tmp_path / "run")
    runner.train()
    losses = unwrapped(runner).log
    assert runner.iter == 2
    assert losses is not None
    assert (tmp_path / "run" / "iter_2.pth").is_file()


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in SMALL])
def test_large_configs_build_values(name: str) -> None:
    """The method and its parts, around a network of a few weights, and its opponents."""
    config = load_config(PROJECT / "configs/hiast" / name)
    network = {**model_config()["network"]}
    classes = len(config.train_dataloader.dataset.target.classes)
    network["decode_head"] = {**network["decode_head"], "num_classes": classes}
    assert config.model.network.decode_head.num_classes == classes
    method = build_method(
        config.model.method,
        SegmentationNetwork.from_config(network),
        num_classes=classes,
        mean=[0.0] * 3,
        std=[1.0] * 3,
    )
    assert set(method.opponents()) == set(config.optim_wrapper.get("opponents", {}))
    assert type(method).__name__ == config.model.method.type
