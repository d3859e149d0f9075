"""A run small enough for a test: drawn images, a config on them, a network of a few weights."""

from __future__ import annotations

import pprint
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

from uda.data.pseudo_labels import SUFFIX, LabelledImage, Manifest
from uda.engine.train import build_runner, load_config

PROJECT = Path(__file__).parents[2]
CLASSES = ["ground", "wall", "pole"]
PALETTE = [[128, 64, 128], [70, 70, 70], [220, 220, 0]]
SIZE = 64


def write_data(root: Path) -> Path:
    """Four source, four target and two validation images; blocks whose colour tells the class."""
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]])
    generator = np.random.default_rng(0)
    for part, count, shade in (("source", 4, 0), ("target", 4, 40), ("val", 2, 40)):
        for index in range(count):
            label = generator.integers(0, 3, (4, 4)).repeat(SIZE // 4, 0).repeat(SIZE // 4, 1)
            noise = generator.integers(-30, 30, (SIZE, SIZE, 3))
            image = np.clip(colours[label] + noise - shade, 0, 255)
            for kind, pixels in (("images", image), ("labels", label)):
                folder = root / part / kind
                folder.mkdir(parents=True, exist_ok=True)
                assert cv2.imwrite(str(folder / f"{index}.png"), pixels.astype(np.uint8))
    return root


def write_pseudo_labels(root: Path) -> Path:
    """Pseudo-labels of the target images of `write_data`, half of their pixels without one."""
    folder = root / "target" / "pseudo"
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(1)
    images = []
    for index in range(4):
        label = generator.choice(np.array([0, 1, 2, 255, 255, 255], np.uint8), (16, 16))
        assert cv2.imwrite(str(folder / f"{index}{SUFFIX}"), label)
        pixels = tuple(int((label == k).sum()) for k in range(3))
        names = (f"{index}.png", f"{index}{SUFFIX}")
        images.append(LabelledImage(*names, (16, 16), pixels, tuple(2 * n for n in pixels)))
    Manifest(CLASSES, images, [0.9, 0.8, 0.6]).write(folder)
    return folder


def pseudo_labelled(target: dict[str, Any], labels: Path | None) -> dict[str, Any]:
    """The data set of a round on a target of `data_config`."""
    load = [{"type": "LoadImage"}, {"type": "LoadPseudoLabel"}]
    paste = {"type": "HardClassCopyPaste", "num_hard": 2}
    return {
        "type": "PseudoLabelledTarget",
        "target": {
            **target,
            "label_dir": None if labels is None else str(labels),
            "label_suffix": SUFFIX,
            "pipeline": [*load, paste, *target["pipeline"][1:]],
        },
        "strong": [{"type": "Albumentations", "transforms": [{"type": "RandomGamma", "p": 0.5}]}],
    }


def data_config(root: Path, workers: int) -> dict[str, Any]:
    """Loaders for `write_data`."""
    folder = {
        "type": "FolderDataset",
        "classes": CLASSES,
        "palette": PALETTE,
        "image_dir": "images",
    }
    crop = {"type": "RandomCrop", "crop_size": (SIZE // 2, SIZE)}
    change = [crop, {"type": "RandomFlip", "prob": 0.5}, {"type": "PackSegInputs"}]
    load = [{"type": "LoadImage"}, {"type": "LoadLabel"}]
    source = {
        **folder,
        "data_root": str(root / "source"),
        "label_dir": "labels",
        "pipeline": load + change,
    }
    target = {**folder, "data_root": str(root / "target"), "pipeline": load[:1] + change}
    val = {
        **folder,
        "data_root": str(root / "val"),
        "label_dir": "labels",
        "test_mode": True,
        "pipeline": [*load, {"type": "PackSegInputs"}],
    }
    loader = {"num_workers": workers, "persistent_workers": workers > 0}
    return {
        "train_dataloader": {
            **loader,
            "batch_size": 2,
            "sampler": {"type": "DrawSampler"},
            "collate_fn": {"type": "pseudo_collate"},
            "dataset": {"type": "SourceTargetPairs", "source": source, "target": target},
        },
        "val_dataloader": {
            **loader,
            "batch_size": 1,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": val,
        },
        "val_evaluator": {"type": "SegmentationMetric"},
    }


def model_config(**changes: Any) -> dict[str, Any]:
    """DAFormer's method around a Mix Transformer of a few thousand weights."""
    model = {
        "type": "DomainAdaptation",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [127.5] * 3,
            "std": [60.0] * 3,
            "bgr_to_rgb": True,
            "pad_val": 0,
            "seg_pad_val": 255,
            "size": (SIZE // 2, SIZE),
        },
        "network": {
            "type": "EncoderDecoder",
            "backbone": {
                "type": "MixTransformer",
                "widths": [8, 8, 16, 16],
                "depths": [1, 1, 1, 1],
                "heads": [1, 1, 2, 2],
            },
            "decode_head": {
                "type": "LightHead",
                "in_channels": [8, 8, 16, 16],
                "channels": 8,
                "num_classes": 3,
            },
            "test_cfg": {"mode": "whole"},
        },
        "method": {
            "type": "SelfTraining",
            "teacher": {"type": "EMATeacher", "decay": 0.9},
            "selector": {"type": "ConfidenceShare", "threshold": 0.4},
            "mixer": {"type": "ClassMix"},
            "view": {"type": "ColorJitterBlur"},
            "terms": [{"type": "FeatureDistance", "classes": [2], "weight": 0.005}],
        },
    }
    return {**model, **changes}


def hrda_network_config() -> dict[str, Any]:
    """The network of `model_config` in two scales, with details of a quarter of the crop."""
    network = model_config()["network"]
    network["backbone"]["sr_ratios"] = [2, 2, 1, 1]  # the context has 16x32 pixels
    return {
        **network,
        "type": "HRDASegmentor",
        "attention_head": dict(network["decode_head"]),
        "detail_size": (SIZE // 4, SIZE // 2),
    }


def write_config(
    folder: Path,
    *,
    iterations: int = 6,
    val_interval: int = 3,
    workers: int = 0,
    model: dict[str, Any] | None = None,
) -> Path:
    """A config file for a run on data in `folder / "data"`, which is made if missing."""
    root = folder / "data"
    if not root.is_dir():
        write_data(root)
    settings = {
        **data_config(root, workers),
        "model": model or model_config(),
        "optim_wrapper": {
            "type": "OptimWrapper",
            "constructor": "ParameterGroups",
            "optimizer": {"type": "AdamW", "lr": 1e-3, "weight_decay": 0.01},
            "paramwise_cfg": {
                "custom_keys": {"head": {"lr_mult": 10.0}, "norm": {"decay_mult": 0.0}}
            },
        },
        "param_scheduler": [{"type": "WarmUpPolyLR", "by_epoch": False, "warmup": 2}],
        "train_cfg": {
            "type": "IterBasedTrainLoop",
            "max_iters": iterations,
            "val_interval": val_interval,
        },
        "default_hooks": {
            "logger": {"interval": 2},
            "checkpoint": {"interval": 3, "max_keep_ckpts": -1},
        },
        "visualizer": {"vis_backends": [{"type": "LocalVisBackend"}]},
    }
    base = PROJECT / "configs/_base_/runtime/default.py"
    lines = [f"_base_ = [{str(base)!r}]"]
    lines += [f"{key} = {pprint.pformat(value)}" for key, value in settings.items()]
    file = folder / "config.py"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def make_runner(config: Path | Config, work_dir: Path, *, resume: bool = False) -> Runner:
    """A Runner that shares no named state with another one of this process."""
    loaded = load_config(config) if isinstance(config, Path) else config
    loaded.experiment_name = work_dir.as_posix().replace("/", "-")
    return build_runner(loaded, work_dir=work_dir, resume=resume)
