"""Scoring one network of a checkpoint on labelled images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch import Tensor, nn

import uda.engine  # noqa: F401 - registers everything
from uda.engine.deploy import deploy_config
from uda.evaluation import SegmentationMetric
from uda.models.state_dicts import load_exactly, read_state_dict

PREFIXES = {
    "student": "method.student.segmentor.",
    "teacher": "method.teacher.network.segmentor.",
}


@dataclass(frozen=True)
class Evaluation:
    """What came of scoring one network on one set.

    Attributes:
        metrics: Percentages by name, without the network's name.
        matrix: Confusion matrix (K, K) int64, rows truth, columns prediction.
        classes: Class names.
        images: Number of images.
    """

    metrics: dict[str, float]
    matrix: Tensor
    classes: Sequence[str]
    images: int


def load_network(config: Config, checkpoint: str | Path, network: str = "student") -> nn.Module:
    """The segmentor of a run's config, with the weights of one network of a checkpoint.

    Args:
        config: The run's config.
        checkpoint: A full checkpoint of a run, or a deploy checkpoint.
        network: `"student"` or `"teacher"`; a deploy checkpoint holds one only.

    Raises:
        ValueError: The checkpoint has no such network, or another architecture.
    """
    state = network_state(read_state_dict(checkpoint), network, origin=checkpoint)
    segmentor: nn.Module = MODELS.build(deploy_config(config).model)
    load_exactly(segmentor, state, origin=str(checkpoint))
    return segmentor.to(get_device()).eval()


def network_state(
    state: Mapping[str, Tensor], network: str, *, origin: str | Path
) -> dict[str, Tensor]:
    """The weights of one network of a checkpoint, named as in the segmentor.

    Raises:
        ValueError: The checkpoint has no such network.
    """
    if network not in PREFIXES:
        raise ValueError(f"network has to be one of {sorted(PREFIXES)}, not {network!r}.")
    if not any(key.startswith("method.") for key in state):
        return dict(state)  # a deploy checkpoint
    prefix = PREFIXES[network]
    own = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    if not own:
        held = [name for name, p in PREFIXES.items() if any(k.startswith(p) for k in state)]
        raise ValueError(f"{origin} holds no {network}; it holds: {', '.join(held) or 'nothing'}.")
    return own


def evaluation_dataset(config: Config, name: str | None = None) -> dict[str, Any]:
    """The config of the data set to score: the validation set, or one of `evaluation_sets`.

    Raises:
        ValueError: The config has no set of that name.
    """
    if config.get("val_dataloader") is None:
        raise ValueError(
            f"{config.filename} has no val_dataloader: scoring needs labelled images; fill it in "
            "as the config's comments show."
        )
    dataset = copy.deepcopy(dict(config.val_dataloader.dataset))
    if name is None:
        return dataset
    sets = config.get("evaluation_sets", {})
    if name not in sets:
        raise ValueError(
            f"{config.filename} has no evaluation set {name!r}; it has: "
            f"{', '.join(sets) or 'none (leave out --on for the validation set)'}."
        )
    return {**dataset, **sets[name]}


@torch.no_grad()
def evaluate(
    segmentor: nn.Module,
    dataset: Mapping[str, Any],
    *,
    metric: SegmentationMetric,
    workers: int = 1,
    scales: Sequence[float] = (),
    flip: bool = False,
) -> Evaluation:
    """Score a segmentor on a labelled data set.

    Args:
        segmentor: From `load_network`.
        dataset: From `evaluation_dataset`.
        metric: Counts, and writes predictions if it was told to.
        workers: Processes that read images.
        scales: Test-time augmentation: mean probabilities over these scales of the image.
        flip: Test-time augmentation: and over its mirror image.
    """
    settings = dict(dataset)
    model: Any = segmentor
    if scales or flip:
        settings["pipeline"] = augmented_pipeline(settings["pipeline"], scales or (1.0,), flip)
        model = MODELS.build({"type": "SegTTAModel", "module": segmentor})
    loader = Runner.build_dataloader(
        {
            "batch_size": 1,
            "num_workers": workers,
            "sampler": {"type": "DefaultSampler", "shuffle": False, "round_up": False},
            "dataset": settings,
        }
    )
    metric.dataset_meta = loader.dataset.metainfo
    for data in loader:
        samples = model.test_step(data)
        metric.process(data, [sample.to_dict() for sample in samples])
    images = len(loader.dataset)
    metrics = metric.evaluate(images)
    return Evaluation(
        metrics={key.split("/", 1)[-1]: value for key, value in metrics.items()},
        matrix=next(iter(metric.last_matrices.values())),
        classes=loader.dataset.metainfo["classes"],
        images=images,
    )


def augmented_pipeline(
    pipeline: Sequence[Mapping[str, Any]], scales: Sequence[float], flip: bool
) -> list[dict[str, Any]]:
    """The pipeline with its geometry repeated for each scale, plain and mirrored.

    Args:
        pipeline: Loading, resizing, label, packing, in this order.
        scales: Factors on the size the image has there.
        flip: Also mirror.
    """
    steps = [dict(step) for step in pipeline]
    labels = [step for step in steps if step["type"] in ("LoadLabel", "LoadAnnotations")]
    first = [step for step in steps if step not in labels and step["type"] != "PackSegInputs"]
    pack = [step for step in steps if step["type"] == "PackSegInputs"]
    resizes = [{"type": "Resize", "scale_factor": scale, "keep_ratio": True} for scale in scales]
    mirrors = [{"type": "RandomFlip", "prob": 0.0, "direction": "horizontal"}]
    if flip:
        mirrors.append({"type": "RandomFlip", "prob": 1.0, "direction": "horizontal"})
    return [*first, {"type": "TestTimeAug", "transforms": [resizes, mirrors, labels, pack]}]
