"""What a run is made of, asked of its Runner: the facts of its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapperDict

from uda.data.joined import JoinedDatasets
from uda.data.source_statistics import statistics_places
from uda.engine.determinism import current_determinism
from uda.engine.optim import STUDENT, BFloat16OptimWrapper
from uda.models.timm_encoder import PACKAGED_WEIGHTS, packaged_weights_file
from uda.runs.digests import file_digest, files_digest
from uda.runs.environment import hardware, system, variables, versions
from uda.runs.git import git_state
from uda.runs.values import digest, plain

PROJECT = Path(__file__).parents[2]
# They say where a run lies and that it went on, not what it computes.
NO_SETTINGS = ("work_dir", "resume", "experiment_name")
# Keys of a config whose value is a file of weights.
_WEIGHT_KEYS = ("weights", "checkpoint", "pretrained")


def run_facts(runner: Any) -> dict[str, Any]:
    """The facts of a run's record, plain values; the Runner has built its loaders and optimiser.

    Paths are those of the config, as given: none is made absolute, and no name of a user or
    machine is asked for.
    """
    settings = plain(settings_of(runner.cfg))
    return {
        "seed": runner.seed,
        "precision": precision_of(runner.optim_wrapper),
        "launcher": runner.launcher,
        "world_size": runner.world_size,
        "determinism": asdict(current_determinism()),
        "environment": variables(),
        "config": {
            "file": Path(runner.cfg.filename or "").name,
            "digest": digest(settings),
            "settings": settings,
        },
        "versions": versions(),
        "system": system(),
        "hardware": hardware(),
        "data": {name: dataset_facts(dataset) for name, dataset in datasets_of(runner)},
        "weights": weights_facts(runner.cfg),
        "git": git_state(PROJECT),
    }


def settings_of(config: Any) -> dict[str, Any]:
    """The resolved config without what says only where the run lies."""
    settings = {name: value for name, value in config.to_dict().items() if name not in NO_SETTINGS}
    if config.get("resume"):
        settings["load_from"] = None  # The run's own checkpoint.
    return settings


def precision_of(wrapper: Any) -> str:
    """How forward passes are computed, in the words of `--amp`.

    Args:
        wrapper: The optimiser wrapper of a Runner.
    """
    if isinstance(wrapper, OptimWrapperDict):
        wrapper = wrapper[STUDENT]
    if isinstance(wrapper, BFloat16OptimWrapper):
        return "bf16"
    if isinstance(wrapper, AmpOptimWrapper):
        return "bf16" if wrapper.cast_dtype == torch.bfloat16 else "fp16"
    return "off"


def datasets_of(runner: Any) -> Iterator[tuple[str, Any]]:
    """The data sets of a Runner by the name of their part: source, target, validation."""
    training = runner.train_dataloader.dataset
    if hasattr(training, "source"):
        yield "source", training
        if training.target is not None:
            yield "target", training.target
    elif hasattr(training, "target"):  # pseudo-labelled target images alone
        yield "target", training.target
    else:
        yield "training", training
    if runner.val_loop is not None:
        yield "validation", runner.val_dataloader.dataset


def dataset_facts(dataset: Any) -> dict[str, Any]:
    """Number and digests of the images and labels that a data set names; no image is opened.

    Args:
        dataset: A `FolderDataset` or another data set of mmengine's kind, or `SourceTargetPairs`,
            of which the source is taken, and the class statistics with rare class sampling. Of
            several joined ones each has facts of its own, by its number.
    """
    sampling = getattr(dataset, "sampling", None)
    dataset = getattr(dataset, "source", dataset)
    if isinstance(dataset, JoinedDatasets):
        paths = None if sampling is None else sampling.statistics
        files = [None] * len(dataset.parts) if paths is None else list(paths)
        joined: dict[str, Any] = {"items": len(dataset)}
        for number, (part, file) in enumerate(zip(dataset.parts, files, strict=True), start=1):
            joined[str(number)] = dataset_facts(part)
            if sampling is not None:
                joined[str(number)]["statistics"] = _statistics_facts(part, file)
        return joined
    infos = _infos(dataset)
    facts: dict[str, Any] = {"items": len(dataset)}
    for name, key, folder in (
        ("images", "img_path", "image_dir"),
        ("labels", "seg_map_path", "label_dir"),
    ):
        paths = [info[key] for info in infos if info.get(key) is not None]
        if paths:
            root = getattr(dataset, folder, None) or Path(paths[0]).parent
            facts[name] = files_digest(paths, root)
    if sampling is not None:
        paths = sampling.statistics
        path = paths if paths is None or isinstance(paths, str) else paths[0]
        facts["statistics"] = _statistics_facts(dataset, path)
    return facts


def weights_facts(config: Any) -> dict[str, Any]:
    """The files that networks start from, by the place in the config that names them.

    A file that is not there, or an address, has no digest.
    """
    found = dict(_weights(config.to_dict().get("model") or {}, "model"))
    if config.get("load_from") and not config.get("resume"):
        found["load_from"] = config.load_from
    return {place: _file_facts(name) for place, name in found.items()}


def _infos(dataset: Any) -> list[Mapping[str, Any]]:
    listed = getattr(dataset, "data_list", None)
    if listed:
        return list(listed)
    if not hasattr(dataset, "get_data_info"):
        return []
    return [dataset.get_data_info(index) for index in range(len(dataset))]


def _statistics_facts(dataset: Any, path: str | Path | None) -> dict[str, Any] | None:
    label_dir = getattr(dataset, "label_dir", None)
    if path is None and label_dir is None:
        return None
    places = statistics_places(Path(label_dir or ""), path)
    place = next((place for place in places if place.is_file()), None)
    return None if place is None else {"file": place.name, "sha256": file_digest(place)}


def _weights(node: Any, place: str) -> Iterator[tuple[str, str]]:
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, value in pairs:
        inner = f"{place}.{key}"
        if key in _WEIGHT_KEYS and isinstance(value, (str, Path)):
            yield inner, str(value)
        elif isinstance(value, (Mapping, list, tuple)):
            yield from _weights(value, inner)


def _file_facts(name: str) -> dict[str, str | None]:
    try:
        file = packaged_weights_file() if name == PACKAGED_WEIGHTS else Path(name).expanduser()
        return {"file": name, "sha256": file_digest(file)}
    except (OSError, ImportError):
        return {"file": name, "sha256": None}
