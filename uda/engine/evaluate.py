"""Scoring one network of a checkpoint on labelled images, or only writing its predictions."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner
from mmseg.registry import MODELS
from torch import Tensor, nn

import uda.engine  # noqa: F401 - registers everything
from uda.engine.checkpoint_networks import chosen_network, deployed_group, is_full, network_state
from uda.engine.deploy import deploy_config
from uda.engine.inference import LABEL_LOADERS, augmented_pipeline, predict_augmented
from uda.engine.overlap import overlapped
from uda.engine.prediction import predict_classes
from uda.engine.target_statistics import STATISTICS_KEY, image_batches, target_images
from uda.evaluation import SegmentationMetric, named_subsets
from uda.evaluation.class_maps import ClassMaps
from uda.models import SegmentationNetwork
from uda.models.state_dicts import load_exactly, read_entry, read_state_dict
from uda.selftraining.norm_statistics import estimate_statistics, load_statistics


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


class LoadedNetwork(NamedTuple):
    """A network of a checkpoint.

    Attributes:
        segmentor: mmseg's segmentor with the weights, in evaluation mode.
        name: "student" or "teacher".
    """

    segmentor: nn.Module
    name: str


def load_network(
    config: Config, checkpoint: str | Path, network: str | None = None
) -> LoadedNetwork:
    """The segmentor of a run's config, with the weights of one network of a checkpoint.

    A full checkpoint of a run with `TargetStatistics` also has the statistics that the run scored
    the network with; they are used.

    Args:
        config: The run's config.
        checkpoint: A full checkpoint of a run, or a deploy checkpoint.
        network: `"student"` or `"teacher"`; None takes the student of a full checkpoint, and the
            only network of a deploy checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The checkpoint has no such network, or another architecture.
    """
    tensors = read_state_dict(checkpoint)
    held = None if is_full(tensors) else read_entry(checkpoint, "meta").get("network")
    name = chosen_network(network, held, origin=checkpoint)
    group = deployed_group(config)
    state = network_state(tensors, name, origin=checkpoint, group=group)
    plain = deploy_config(config, merged=not is_full(tensors))
    segmentor: nn.Module = MODELS.build(plain.model)
    load_exactly(segmentor, state, origin=str(checkpoint))
    statistics = read_entry(checkpoint, STATISTICS_KEY).get(name, {})
    load_statistics(SegmentationNetwork(segmentor), statistics)
    return LoadedNetwork(segmentor.to(get_device()).eval(), name)


def adapt_statistics(
    network: LoadedNetwork,
    config: Config,
    *,
    folder: str | Path | None = None,
    images: int = 128,
    batch_size: int = 4,
) -> None:
    """Give a network the batch normalisation of target images (AdaBN); no label is read.

    Args:
        network: From `load_network`; changed in place.
        config: The run's config.
        folder: Any folder of images; None takes the target training images of the config.
        images: How many at most.
        batch_size: How many a batch.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: The config has no target images and no folder is given, or it has no image.
    """
    segmentor: Any = network.segmentor
    dataset = None
    if folder is not None:
        names = [str(index) for index in range(segmentor.num_classes)]
        dataset = {"type": "FolderDataset", "image_dir": str(folder), "classes": names}
    images_at_inference = target_images(config, dataset)
    batches = image_batches(images_at_inference, segmentor.data_preprocessor, images, batch_size)
    whole = SegmentationNetwork(segmentor)
    load_statistics(whole, estimate_statistics(whole, batches))


def evaluation_dataset(
    config: Config, name: str | None = None, *, labelled: bool = True
) -> dict[str, Any]:
    """The config of the data set to score: the validation set, or one of `evaluation_sets`.

    Args:
        config: The run's config.
        name: Of `evaluation_sets`; None takes the validation set.
        labelled: Read labels; else the set's labels, if it has any, are left alone.

    Raises:
        ValueError: The config has no set of that name, or the set has no labels.
    """
    if config.get("val_dataloader") is None:
        raise ValueError(
            f"{config.filename} has no val_dataloader: scoring needs labelled images; fill it in "
            "as the config's comments show."
        )
    dataset = copy.deepcopy(dict(config.val_dataloader.dataset))
    if name is not None:
        sets = config.get("evaluation_sets", {})
        if name not in sets:
            raise ValueError(
                f"{config.filename} has no evaluation set {name!r}; it has: "
                f"{', '.join(sets) or 'none (leave out --on for the validation set)'}."
            )
        dataset.update(sets[name])
    if not labelled:
        return without_labels(dataset)
    if "label_dir" in dataset and dataset["label_dir"] is None:
        raise ValueError(
            f"{name or 'the validation set'} of {config.filename} has no labels (label_dir=None): "
            "it cannot be scored; --format-only with --save-predictions writes its predictions, "
            "and tools/score_checkpoints.py gives scores that need no labels."
        )
    return dataset


def without_labels(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a data set that opens no label file.

    >>> steps = [{"type": "LoadImage"}, {"type": "LoadLabel"}]
    >>> without_labels({"label_dir": "labels", "pipeline": steps})
    {'label_dir': None, 'pipeline': [{'type': 'LoadImage'}]}
    """
    settings = dict(dataset)
    settings["pipeline"] = [s for s in settings["pipeline"] if s["type"] not in LABEL_LOADERS]
    if "label_dir" in settings:
        settings["label_dir"] = None
    prefixes = dict(settings.get("data_prefix") or {})  # mmseg's own data sets
    if prefixes.pop("seg_map_path", None) is not None:
        settings["data_prefix"] = prefixes
    return settings


def evaluate(
    network: LoadedNetwork,
    dataset: Mapping[str, Any],
    *,
    metric: SegmentationMetric,
    workers: int = 1,
    scales: Sequence[float] = (),
    flip: bool = False,
) -> Evaluation:
    """Score a network on a labelled data set.

    Args:
        network: From `load_network`.
        dataset: From `evaluation_dataset`.
        metric: Counts, and writes predictions if it was told to.
        workers: Processes that read images.
        scales: Test-time augmentation: mean probabilities over these scales of the image.
        flip: Test-time augmentation: and over its mirror image.

    Raises:
        ValueError: The metric has a subset of classes that the data set lacks.
    """
    loader = _loader(dataset, workers, scales, flip)
    classes = loader.dataset.metainfo["classes"]
    try:
        named_subsets(metric.subsets, classes)  # before the work, not after it
    except ValueError as error:
        raise ValueError(
            "named subsets are means over Cityscapes' classes; leave out --classes for a data set "
            f"with others ({error})"
        ) from error
    _predict(network, loader, metric, augmented=bool(scales) or flip)
    images = len(loader.dataset)
    metrics = metric.evaluate(images)
    return Evaluation(
        metrics={key.split("/", 1)[-1]: value for key, value in metrics.items()},
        matrix=metric.last_matrices[network.name],
        classes=classes,
        images=images,
    )


def write_predictions(
    network: LoadedNetwork,
    dataset: Mapping[str, Any],
    *,
    folder: str | Path,
    workers: int = 1,
    scales: Sequence[float] = (),
    flip: bool = False,
) -> int:
    """Write a network's predictions below `folder` / its name, and return how many.

    Args:
        network: From `load_network`.
        dataset: From `evaluation_dataset` with `labelled=False`.
        folder: See `PredictionWriter`.
        workers: Processes that read images.
        scales: As in `evaluate`.
        flip: As in `evaluate`.
    """
    loader = _loader(dataset, workers, scales, flip)
    metric = SegmentationMetric(format_only=True, save_predictions=folder)
    _predict(network, loader, metric, augmented=bool(scales) or flip)
    return len(loader.dataset)


def _loader(dataset: Mapping[str, Any], workers: int, scales: Sequence[float], flip: bool) -> Any:
    """The images one by one, in views if there is test-time augmentation."""
    settings = dict(dataset)
    if scales or flip:
        settings["pipeline"] = augmented_pipeline(settings["pipeline"], scales or (1.0,), flip)
    return one_by_one(settings, workers)


def one_by_one(dataset: Any, workers: int) -> Any:
    """A loader of the images of a data set, each in a batch of its own, in order.

    Args:
        dataset: The data set or its config.
        workers: Processes that read images.
    """
    return Runner.build_dataloader(
        {
            "batch_size": 1,
            "num_workers": workers,
            "sampler": {"type": "DefaultSampler", "shuffle": False, "round_up": False},
            "dataset": dataset,
        }
    )


@torch.no_grad()
def _predict(
    network: LoadedNetwork, loader: Any, metric: SegmentationMetric, *, augmented: bool
) -> None:
    """Hand the prediction of every image to the metric, under the network's name."""
    metric.dataset_meta = loader.dataset.metainfo
    segmentor: Any = network.segmentor
    maps = ClassMaps()

    def predicted(data: Any) -> tuple[Any, list[Any]]:
        if augmented:
            samples = predict_augmented(segmentor, data)
        else:
            batch = segmentor.data_preprocessor(data, False)
            samples = predict_classes(segmentor, batch["inputs"], batch["data_samples"], maps)
        for sample in samples:
            sample.set_metainfo({"pred_network": network.name})
        return data, [sample.to_dict() for sample in samples]

    overlapped(enumerate(loader), predicted, lambda _, found: metric.process(*found))
