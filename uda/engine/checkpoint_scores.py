"""Scoring the kept checkpoints of runs on target images, without labels and, if wanted, with."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmseg.registry import DATASETS
from torch import Tensor

import uda.engine  # noqa: F401 - registers everything
from uda.data.joined import settings_of
from uda.engine.checkpoint_files import checkpoints
from uda.engine.checkpoint_networks import deployed_group, held_networks
from uda.engine.evaluate import LoadedNetwork, evaluation_dataset, load_network, one_by_one
from uda.engine.target_statistics import target_images
from uda.evaluation import LabelFreeScores, SegmentationMetric
from uda.evaluation.label_free import SCORES
from uda.evaluation.label_free.metric import SUMS
from uda.evaluation.label_free.sums import PredictionSums
from uda.models.state_dicts import read_state_dict

_ITERATION = re.compile(r"iter_(\d+)\.pth$")


@dataclass(frozen=True)
class CheckpointScores:
    """What one checkpoint got.

    Attributes:
        checkpoint: Its file.
        iteration: After which it was saved.
        scores: By network and score, such as "student/entropy".
        miou: By network, in percent; empty if no labels were read.
    """

    checkpoint: Path
    iteration: int
    scores: dict[str, float]
    miou: dict[str, float]


def kept_checkpoints(run: str | Path) -> list[Path]:
    """The full checkpoints of a run by iteration, its best ones among them.

    A best checkpoint of an iteration that is kept anyway is left out.

    Args:
        run: The run's folder, or a single checkpoint.

    Raises:
        FileNotFoundError: There is no such folder or file, or no checkpoint in it.
    """
    place = Path(run)
    if place.is_file():
        return [place]
    found = {iteration_of(path): path for path in place.glob("best_*.pth")}
    found |= {iteration_of(path): path for path in checkpoints(place)}
    if not found:
        what = "holds no checkpoint (iter_N.pth)" if place.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{place} {what}; give the folder of a run, or a checkpoint. A run keeps all of its "
            "checkpoints with default_hooks.checkpoint.max_keep_ckpts=-1."
        )
    return [found[iteration] for iteration in sorted(found)]


def iteration_of(checkpoint: str | Path) -> int:
    """The iteration in a checkpoint's name; 0 if it has none.

    >>> iteration_of("run/best_student_information_iter_300.pth")
    300
    """
    found = _ITERATION.search(Path(checkpoint).name)
    return int(found[1]) if found else 0


def config_of_run(run: str | Path) -> Path:
    """The config that a run has written into its folder.

    Args:
        run: The run's folder, or a checkpoint in it.

    Raises:
        FileNotFoundError: There is none.
        ValueError: There are several.
    """
    folder = Path(run) if Path(run).is_dir() else Path(run).parent
    found = sorted(folder.glob("*.py"))
    if not found:
        raise FileNotFoundError(f"{folder} has no config of a run (*.py); name one by --config.")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} has several configs ({names}); name one by --config.")
    return found[0]


def images_to_score(
    config: Config,
    *,
    on: str | None = None,
    folder: str | Path | None = None,
    labelled: bool = False,
    limit: int | None = None,
) -> Any:
    """The data set to score on.

    Without labels no label file is opened, whatever the set has.

    Args:
        config: The run's config.
        on: An evaluation set of the config. None takes the validation set, or, in a config without
            one, the target training images as they are at inference.
        folder: Any folder of images, in place of these.
        labelled: Read labels as well.
        limit: How many images at most, evenly spread.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The set has no labels though they were asked for, or the config has no images.
    """
    bare = folder is not None or (on is None and config.get("val_dataloader") is None)
    if bare and labelled:
        raise ValueError(
            f"{folder or 'the target training images'}: true mIoU needs labels, which only the "
            "validation set and evaluation sets of a config can have; leave out --miou, or choose "
            "such a set by --on."
        )
    if bare:
        dataset = target_images(config, None if folder is None else _folder(config, folder))
    else:
        dataset = DATASETS.build(evaluation_dataset(config, on, labelled=labelled))
    if limit is not None and limit < len(dataset):
        indices = np.linspace(0, len(dataset) - 1, limit).round().astype(int).tolist()
        dataset = dataset.get_subset(indices)
    return dataset


def score_checkpoint(
    config: Config,
    checkpoint: str | Path,
    dataset: Any,
    *,
    labelled: bool = False,
    workers: int = 1,
) -> CheckpointScores:
    """Score the student, and the teacher if there is one, of a checkpoint.

    Args:
        config: The run's config.
        checkpoint: A full checkpoint.
        dataset: From `images_to_score`.
        labelled: Whether it has labels.
        workers: Processes that read images.

    Raises:
        ValueError: The checkpoint does not fit the config.
    """
    group = deployed_group(config)
    # A deploy checkpoint holds one network and knows its name.
    held: list[Any] = [*held_networks(read_state_dict(checkpoint), group)] or [None]
    networks = [load_network(config, checkpoint, name) for name in held]
    free = LabelFreeScores()
    metrics: list[BaseMetric] = [free, SegmentationMetric()] if labelled else [free]
    for metric in metrics:
        metric.dataset_meta = dataset.metainfo
    for number, data in enumerate(one_by_one(dataset, workers)):
        sample = joint_sample(networks, data, number, describe=free.describe)
        for metric in metrics:
            metric.process(data, [sample])
    found: dict[str, float] = {}
    for metric in metrics:
        found |= metric.evaluate(len(dataset))
    return CheckpointScores(
        Path(checkpoint),
        iteration_of(checkpoint),
        scores={name: value for name, value in found.items() if name.split("/")[1] in SCORES},
        miou={n.name: found[f"{n.name}/mIoU"] for n in networks if labelled},
    )


def _folder(config: Config, folder: str | Path) -> dict[str, Any]:
    """The config of a data set of a folder's images, with the classes of the run."""
    (source, *_) = settings_of(config.train_dataloader.dataset.source)
    return {"type": "FolderDataset", "image_dir": str(folder), "classes": source["classes"]}


@torch.no_grad()
def joint_sample(
    networks: Sequence[LoadedNetwork],
    data: Any,
    number: int,
    *,
    describe: Callable[[Tensor, int], PredictionSums],
) -> dict[str, Any]:
    """The predictions of several networks on one image, as metrics read them.

    Args:
        networks: The first gives `pred_sem_seg`.
        data: A batch of one image.
        number: Of the image in the data set.
        describe: Makes the sums of logits.
    """
    joint: dict[str, Any] = {}
    for network in networks:
        segmentor: Any = network.segmentor
        (sample,) = segmentor.test_step(data)
        found = sample.to_dict()
        logits = found.pop("seg_logits")["data"]
        if not joint:
            joint = {**found, "pred_network": network.name}
        else:
            joint[f"{network.name}_pred_sem_seg"] = found["pred_sem_seg"]
        joint[SUMS.format(network.name)] = describe(logits, number)
    return joint
