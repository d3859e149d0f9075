"""Configs that cannot be run: keys, types, numbers, and what does not go together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from mmseg.registry import DATASETS, MODELS

from tests.bad_input.cases import StepCase
from tests.engine.tiny_run import write_config
from uda.engine.train import build_runner, load_config

PAIRS = "train_dataloader.dataset"
SOURCE = f"{PAIRS}.source"
METHOD = "model.method"
CROP = f"{SOURCE}.pipeline.2.crop_size"
LR = "optim_wrapper.optimizer.lr"


def build(root: Path, options: Mapping[str, Any]) -> None:
    """Load a config, build its model and its data, as a run does before anything else."""
    config = load_config(write_config(root), dict(options))
    MODELS.build(config.model)
    DATASETS.build(config.train_dataloader.dataset)


def option(place: str, value: Any, wanted: str) -> StepCase:
    """A value that `load_config` refuses at its place, with what is wanted there."""
    # Options count with dots, messages write lists as Python does.
    shown = re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", place)
    told = f"{shown}={value!r}: wanted {wanted}."
    return StepCase(
        f"{place.rpartition('.')[2]}={value!r}",
        lambda root, _: build(root, {place: value}),
        "{root}/config.py: " + told.replace("{", "{{").replace("}", "}}"),
    )


def settings(name: str, options: Mapping[str, Any], error: str) -> StepCase:
    """Options that are refused for another reason."""
    return StepCase(name, lambda root, _: build(root, options), error)


def edited(name: str, edit: Callable[[str], str], error: str) -> StepCase:
    """A config file with a fault in its text."""

    def run(root: Path, _: pytest.MonkeyPatch) -> None:
        file = write_config(root)
        file.write_text(edit(file.read_text()))
        runner(root)

    return StepCase(name, run, error)


def runner(root: Path, seed: int | None = None) -> Any:
    """The Runner of the config in a folder."""
    file = root / "config.py"
    file = file if file.exists() else write_config(root)
    return build_runner(load_config(file), work_dir=root / "run", seed=seed)


BOX = (
    "a tuple (height, width) in pixels, each a whole number of at least 1, or a whole number of at "
    "least 1"
)
POSITIVE = "a whole number of at least 1"
VALUES = [
    option("train_dataloader.batch_size", 0, POSITIVE),
    option("train_dataloader.batch_size", -4, POSITIVE),
    option("train_dataloader.batch_size", 2.5, POSITIVE),
    option("train_dataloader.batch_size", "two", POSITIVE),
    option("val_dataloader.batch_size", True, POSITIVE),
    option("train_dataloader.num_workers", -1, "a whole number from 0 to 256"),
    option("train_dataloader.num_workers", 4000, "a whole number from 0 to 256"),
    option(LR, 0, "a number above 0 and at most 10"),
    option(LR, -6e-5, "a number above 0 and at most 10"),
    option(LR, 60.0, "a number above 0 and at most 10"),
    option(LR, float("nan"), "a number above 0 and at most 10"),
    option(LR, "6e-5.", "a number above 0 and at most 10"),
    option("optim_wrapper.optimizer.weight_decay", -0.01, "a number of at least 0"),
    option("train_cfg.max_iters", 0, POSITIVE),
    option("train_cfg.max_iters", -100, POSITIVE),
    option("train_cfg.max_iters", 4e4, POSITIVE),
    option("train_cfg.val_interval", 0, POSITIVE),
    option("param_scheduler.0.warmup", -1, "a whole number of at least 0"),
    option("default_hooks.logger.interval", 0, POSITIVE),
    option("default_hooks.checkpoint.interval", 0, f"{POSITIVE}, or -1 for never"),
    option("randomness.seed", -1, "a whole number from 0 to 4294967295, or None"),
    option(CROP, (0, 64), BOX),
    option(CROP, [32, 64], BOX),
    option(
        f"{SOURCE}.pipeline.3.prob",
        1.5,
        "a number of at least 0 and at most 1, or a list of them, or None",
    ),
    option("model.data_preprocessor.mean", [127.5], "three values, one a channel, each a number"),
    option(
        "model.data_preprocessor.std",
        [60.0, 0.0, 60.0],
        "three values, one a channel, each a number above 0",
    ),
    option(f"{METHOD}.selector.threshold", "high", "a number"),
    option(f"{METHOD}.teacher.decay", None, "a number"),
    option(f"{METHOD}.mixer.candidates", "all", "'batch' or 'image'"),
    option(f"{METHOD}.terms.0.classes", "pole", "a list of whole numbers, or None"),
    option(f"{SOURCE}.classes", "road", "a list of texts"),
    option(f"{SOURCE}.image_dir", 5, "a text"),
    option(f"{PAIRS}.sampling.retries", 1.5, "a whole number"),
    option("train_dataloader.dataset.target", "images", "a dict, or a list of dicts, or None"),
    option("model", 5, "a dict"),
    option("custom_hooks", "PictureLog", "a list of dicts, or None"),
]
RANGES = [
    settings(
        "threshold above 1",
        {f"{METHOD}.selector.threshold": 1.5},
        "threshold is a probability in [0, 1], not 1.5.",
    ),
    settings(
        "decay above 1",
        {f"{METHOD}.teacher.decay": 2.0},
        "decay has to lie in [0, 1] (0.999 keeps 99.9 %), not 2.0.",
    ),
    settings(
        "jitter below 0",
        {f"{METHOD}.view.jitter_strength": -1.0},
        "jitter_strength has to be at least 0, not -1.0.",
    ),
    settings(
        "class of a term that is none",
        {f"{METHOD}.terms.0.classes": [7]},
        "FeatureDistance: classes [7] are not in 0..2; name the ids of this data set's things.",
    ),
]
KEYS = [
    settings(
        "unknown key",
        {f"{METHOD}.teacher.decya": 0.9},
        "{root}/config.py: model.method.teacher: EMATeacher has no argument 'decya'. Did you mean "
        "'decay'? Known: buffers, decay, flip_average, mode, share_frozen, "
        "student, warmup.",
    ),
    settings(
        "unknown key of the sampling",
        {"train_dataloader.dataset.sampling": {"temprature": 0.1}},
        "{root}/config.py: train_dataloader.dataset.sampling: RareClassSampling has no argument "
        "'temprature'. Did you mean 'temperature'? Known: classes, min_crop_share, min_pixels, "
        "over, retries, statistics, temperature.",
    ),
    settings(
        "unknown type",
        {f"{METHOD}.mixer.type": "ClasMix"},
        "{root}/config.py: model.method.mixer: there is no type 'ClasMix' here. Did you mean "
        "'ClassMix'? A class of your own has to be registered by a module that custom_imports "
        "names.",
    ),
    settings(
        "unknown option",
        {"modle.type": 1},
        "unknown key 'modle' in the option 'modle.type'. Did you mean 'model'? A variable of a "
        "config file is used up when the file is read: set the places where it is used.",
    ),
    settings(
        "option beyond the list",
        {"custom_hooks.9.interval": 1},
        "{root}/config.py: the option custom_hooks.9.interval=1 does not fit there: Index 9 "
        "exceeds the length of list [{{'type': 'RandomState'}}, {{'type': 'Preemption'}}, "
        "{{'type': 'PictureLog', 'interval': ...",
    ),
    settings(
        "option below a number",
        {"train_cfg.max_iters.x": 1},
        "{root}/config.py: the option train_cfg.max_iters.x=1 does not fit there: max_iters="
        "{{'x': 1}} in child config cannot inherit from base because max_iters is a dict in the "
        "child config but is of ty...",
    ),
]
TOGETHER = [
    settings(
        "crop larger than the batch",
        {CROP: (96, 64)},
        "{root}/config.py: train_dataloader.dataset.source: crop_size=(96, 64) is larger than "
        "model.data_preprocessor.size=(32, 64); set both to the same (height, width).",
    ),
    settings(
        "resume without skipping",
        {"train_cfg.fast_forward_on_resume": True},
        "{root}/config.py: train_cfg.fast_forward_on_resume=True: a resumed run would see the "
        "images of its first iterations again and end in other weights than a straight one; leave "
        "it out. Skipping costs nothing here: DrawSampler counts and reads no image.",
    ),
    settings(
        "source without labels",
        {f"{SOURCE}.label_dir": None},
        "{root}/config.py: train_dataloader.dataset.source has no label_dir: the source needs "
        "labels.",
    ),
    settings(
        "source without LoadLabel",
        {f"{SOURCE}.pipeline.1": {"type": "LoadImage"}},
        "{root}/config.py: train_dataloader.dataset.source.pipeline reads no label: put "
        "dict(type='LoadLabel') after LoadImage.",
    ),
    settings(
        "pipeline without packing",
        {f"{SOURCE}.pipeline.4": {"type": "LoadImage"}},
        "{root}/config.py: train_dataloader.dataset.source.pipeline has to end with "
        "dict(type='PackSegInputs').",
    ),
    settings(
        "validation without labels",
        {"val_dataloader.dataset.label_dir": None},
        "{root}/config.py: val_dataloader.dataset has no label_dir: LoadLabel in its pipeline "
        "needs one; without labels take LoadLabel out, and scores that need none are logged "
        "(docs/checkpoint_choice.md).",
    ),
    settings(
        "best checkpoint by an unknown score",
        {"default_hooks.checkpoint.save_best": "student/mIuO"},
        "{root}/config.py: default_hooks: Checkpoint: save_best='student/mIuO' is no score of "
        "which the better direction is known. Did you mean 'student/mIoU'? With labels there are "
        "student/mIoU, aAcc, mAcc and IoU.CLASS, and the teacher's; without labels "
        "student/entropy, student/information, student/neighbourhood_density, "
        "student/nuclear_norm, student/agreement, student/agreement_mIoU, teacher/entropy, "
        "teacher/information, teacher/neighbourhood_density, teacher/nuclear_norm.",
    ),
    settings(
        "best checkpoint without validation",
        {
            "default_hooks.checkpoint.save_best": "student/entropy",
            "val_dataloader": None,
            "val_evaluator": None,
            "val_cfg": None,
        },
        "{root}/config.py: default_hooks.checkpoint.save_best='student/entropy' needs a "
        "validation: set val_dataloader, val_evaluator and val_cfg.",
    ),
    settings(
        "validation without LoadLabel",
        {"val_dataloader.dataset.pipeline.1": {"type": "LoadImage"}},
        "{root}/config.py: val_dataloader.dataset.pipeline reads no label: put "
        "dict(type='LoadLabel') after LoadImage.",
    ),
    settings(
        "labelled images that EXIF turns",
        {f"{SOURCE}.pipeline.0.type": "LoadImageFromFile"},
        "the pipeline of the labelled folder {root}/data/source/images has LoadImageFromFile, "
        "which turns an image by its EXIF orientation and so parts it from its label; use "
        "LoadImage",
    ),
    settings(
        "head of other class counts",
        {"model.network.decode_head.num_classes": 19},
        "`model.decode_head` (LightHead) has num_classes=19, the data set has 3 classes. Set "
        "num_classes=3 there.",
    ),
    settings(
        "validation of other classes",
        {"val_dataloader.dataset.classes": ["a", "b", "c"]},
        "The source has the classes ['ground', 'wall', 'pole'], the validation set ['a', 'b', "
        "'c']; give all sets one list (and a label_map where raw ids differ).",
    ),
    StepCase(
        "seed of the command line",
        lambda root, _: runner(root, seed=-1),
        "the seed has to be a whole number from 0 to 4294967295, not -1.",
    ),
]
TEXTS = [
    edited(
        "config with a syntax error",
        lambda text: "x = (1,\n" + text,
        "config {root}/config.py, line 1 cannot be read: SyntaxError: '(' was never closed",
    ),
    edited(
        "config with an unknown name",
        lambda text: "\nx = crop\n" + text,
        "config {root}/config.py, line 2 cannot be read: NameError: name 'crop' is not defined",
    ),
    edited(
        "config with an unknown module",
        lambda text: "x = __import__('nothing_here')\n" + text,
        "config {root}/config.py, line 1 cannot be read: ModuleNotFoundError: No module named "
        "'nothing_here'",
    ),
    edited(
        "config with a missing base",
        lambda text: text.replace("default.py", "gone.py"),
        "config {root}/config.py asks for {project}/configs/_base_/runtime/gone.py, which is not "
        "there; mend its `_base_`",
    ),
    edited(
        "config with a missing custom import",
        lambda text: text + "custom_imports = dict(imports=['gone'])\n",
        "config {root}/config.py cannot be read: ImportError: Failed to import gone",
    ),
    edited(
        "config without a model",
        lambda text: text.replace("\nmodel = ", "\n_model = "),
        "{root}/config.py: there is no model; a config takes one from configs/_base_/models.",
    ),
    edited(
        "config with half a model",
        lambda text: text + "model.pop('method')\n",
        "{root}/config.py: model has no method; the configs in configs/daformer have one.",
    ),
    edited(
        "config without a source",
        lambda text: text + "train_dataloader['dataset'].pop('source')\n",
        "{root}/config.py: train_dataloader.dataset has no source: there is nothing to learn from.",
    ),
    edited(
        "config without a data set",
        lambda text: text + "train_dataloader.pop('dataset')\n",
        "{root}/config.py: train_dataloader has no dataset; a config takes one from "
        "configs/_base_/data.",
    ),
    edited(
        "config without data",
        lambda text: text.replace("\ntrain_dataloader = ", "\n_train = "),
        "{root}/config.py has no train_dataloader: nothing to train on.",
    ),
]
CONFIGS = [*VALUES, *RANGES, *KEYS, *TOGETHER, *TEXTS]
