"""The pipeline of a deployed network, and the template for two folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmcv.transforms import TRANSFORMS
from mmengine.config import Config
from PIL import Image

from uda.data.images import ORIENTATION
from uda.engine.deploy import inference_pipeline

from .tiny_run import PROJECT, make_runner, write_data

PACK = {"type": "PackSegInputs"}
TRAINING = [
    {"type": "LoadImage"},
    {"type": "RandomResize", "scale": (32, 24), "ratio_range": (0.5, 2.0), "keep_ratio": True},
    {"type": "Albumentations", "transforms": []},
    {"type": "PhotoMetricDistortion"},
    {"type": "RandomCrop", "crop_size": (8, 8)},
    {"type": "AdjustGamma", "gamma": 2.0},
    PACK,
]
SETTLED = [
    {"type": "LoadImageFromFile", "color_type": "color_ignore_orientation"},
    {"type": "Resize", "scale": (32, 24), "keep_ratio": True},
    {"type": "AdjustGamma", "gamma": 2.0},
    PACK,
]


def config(**changes: Any) -> Config:
    """Loaders with a labelled source of one step and a target with `TRAINING`."""
    source = {"pipeline": [{"type": "LoadImage"}, {"type": "LoadLabel"}, PACK]}
    pairs = {"source": source, "target": {"pipeline": TRAINING}}
    return Config({"train_dataloader": {"dataset": {**pairs, **changes}}, "val_dataloader": None})


def test_inference_pipeline_values() -> None:
    """Without validation data: the target's steps but those by chance, at the nominal size."""
    assert inference_pipeline(config()) == SETTLED


def test_inference_pipeline_without_target_values() -> None:
    """Source-only: the source's steps; mmseg drops the loader of labels by its own name."""
    steps = inference_pipeline(config(target=None))
    names = ["LoadImageFromFile", "LoadAnnotations", "PackSegInputs"]
    assert [step["type"] for step in steps] == names


def test_inference_pipeline_of_a_target_alone_values() -> None:
    """Pseudo-labels and copy-paste belong to training."""
    steps = [{"type": "LoadPseudoLabel"}, {"type": "HardClassCopyPaste"}]
    target = {"pipeline": [TRAINING[0], *steps, *TRAINING[1:]]}
    given = Config({"train_dataloader": {"dataset": {"target": target}}, "val_dataloader": None})
    assert inference_pipeline(given) == [SETTLED[0], {"type": "LoadAnnotations"}, *SETTLED[1:]]


def test_inference_pipeline_without_margins_values() -> None:
    """Margins of pseudo-labels and their packing belong to training."""
    margins = {"type": "PseudoLabelMargins", "top": 2}
    target = {"pipeline": [TRAINING[0], margins, *TRAINING[1:-1], {"type": "PackTarget"}]}
    assert inference_pipeline(config(target=target)) == SETTLED


def test_inference_pipeline_of_validation_values() -> None:
    """With validation data its steps are taken as they are."""
    steps = [{"type": "LoadImage"}, {"type": "Resize", "scale": (4, 4)}, {"type": "LoadLabel"}]
    given = config()
    given.val_dataloader = {"dataset": {"pipeline": steps}}
    found = inference_pipeline(given)
    names = ["LoadImageFromFile", "Resize", "LoadAnnotations"]
    assert [step["type"] for step in found] == names


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_deployed_reading_equals_that_of_training(tmp_path: Path, suffix: str) -> None:
    """An image with an EXIF orientation is used as stored by both, to the bit."""
    image = Image.fromarray(np.arange(24 * 40 * 3, dtype=np.uint8).reshape(24, 40, 3))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image.save(tmp_path / f"turned{suffix}", exif=exif)
    info = {"img_path": str(tmp_path / f"turned{suffix}")}
    deployed = TRANSFORMS.build(SETTLED[0])(dict(info))["img"]
    assert deployed.shape == (24, 40, 3)
    assert np.array_equal(deployed, TRANSFORMS.build({"type": "LoadImage"})(dict(info))["img"])
    turned = TRANSFORMS.build({"type": "LoadImageFromFile"})(dict(info))["img"]
    assert turned.shape == (40, 24, 3)  # what is avoided


@pytest.mark.slow
@pytest.mark.parametrize("name", ["daformer", "source_only"])
def test_two_folders_run(tmp_path: Path, name: str) -> None:
    """The template trains on a target without labels, and writes networks that mmseg loads."""
    import shutil

    import cv2
    from mmseg.apis import inference_model, init_model

    from uda.engine.train import load_config

    data = write_data(tmp_path / "data")
    shutil.rmtree(data / "target" / "labels")
    place = "train_dataloader.dataset"
    options = {
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        f"{place}.source.data_root": str(data / "source"),
        f"{place}.source.label_map": None,
        "train_cfg.max_iters": 2,
    }
    if name == "daformer":
        options[f"{place}.target.data_root"] = str(data / "target")
    loaded = load_config(PROJECT / f"configs/{name}/two_folders_{name}.py", options)
    make_runner(loaded, tmp_path / "run").train()
    deploy = tmp_path / "run" / "deploy"
    model = init_model(str(deploy / "config.py"), str(deploy / "student.pth"), device="cpu")
    image = cv2.imread(str(data / "target" / "images" / "0.png"))
    result = inference_model(model, image)
    assert tuple(result.pred_sem_seg.data.shape) == (1, *image.shape[:2])
    assert (deploy / "teacher.pth").exists() == (name == "daformer")
    if name == "daformer":
        rounds_of_two_folders(tmp_path / "run" / "iter_2.pth", data / "target", tmp_path / "rounds")


def rounds_of_two_folders(start: Path, target: Path, work_dir: Path) -> None:
    """The template of HIAST goes on from a checkpoint of the other."""
    from uda.engine.round_settings import round_settings
    from uda.engine.rounds import run_rounds
    from uda.engine.train import load_config

    options = {
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_dataloader.dataset.target.data_root": str(target),
        "train_cfg.max_iters": 2,
    }
    file = PROJECT / "configs/hiast/two_folders_hiast.py"
    settings = round_settings(load_config(file, options), start={"checkpoint": str(start)}, count=1)
    run_rounds(file, settings, work_dir=work_dir, options=options, seed=0, workers=0)
    assert (work_dir / "round_1" / "iter_2.pth").is_file()
    assert (work_dir / "round_1" / "deploy" / "teacher.pth").is_file()
