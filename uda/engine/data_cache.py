"""The data sets of a config that training reads, and caches of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.registry import DATASETS

import uda.data.registration  # noqa: F401 - registers what configs name
from uda.data.cache.build import Need, build_cache
from uda.data.cache.steps import cache_plan
from uda.data.joined import settings_of

DEFAULT = "data/cache"


def training_sets(config: Config, root: str | Path | None = None) -> list[tuple[str, Any]]:
    """Name and data set of each source and target that a config trains on and a cache can hold.

    Args:
        config: From `load_config`.
        root: Only those whose images lie below this folder; None: all.

    Raises:
        FileNotFoundError: A folder is missing.
        ValueError: The config trains on no pairs, or none of its sets can be cached.
    """
    pairs = (config.get("train_dataloader") or {}).get("dataset") or {}
    if pairs.get("type") != "SourceTargetPairs":
        raise ValueError(
            f"{config.filename} has no train_dataloader.dataset of type SourceTargetPairs; only "
            "its source and target can be cached"
        )
    found = []
    for domain in ("source", "target"):
        for number, settings in enumerate(settings_of(pairs.get(domain)), start=1):
            dataset = DATASETS.build({**settings, "lazy_init": True})
            if root is not None and not _below(dataset, Path(root)):
                continue
            dataset.full_init()
            name = domain if number == 1 else f"{domain} {number}"
            if cache_plan(dataset) is not None:
                found.append((name, dataset))
    if not found:
        where = "" if root is None else f" below {Path(root).absolute()}"
        raise ValueError(
            f"{config.filename} trains on no images{where} that can be cached: wanted a "
            "FolderDataset whose pipeline begins with LoadImage"
        )
    return found


def cache_folder(config: Config) -> Path:
    """Where training by a config looks for caches.

    Raises:
        ValueError: It looks nowhere.
    """
    folder = config.train_dataloader.dataset.get("cache", DEFAULT)
    if folder is None:
        raise ValueError(
            f"{config.filename} has train_dataloader.dataset.cache=None: training would not read a "
            "cache; give a folder there"
        )
    return Path(folder)


def write_caches(
    config: Config,
    *,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int = 1,
    tell: Callable[[str, Need], None] = lambda name, need: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Cache the training images of a config; see `build_cache` for what is kept and raised.

    Args:
        config: From `load_config`.
        root: See `training_sets`.
        cache: Folder of all caches; None: where training looks.
        workers: Processes.
        tell: Called with the name of a set and what its cache takes, before it is written.
        progress: Called with the number of images of a set that are done, and their total.
    """
    folder = cache_folder(config) if cache is None else Path(cache)
    for name, dataset in training_sets(config, root):

        def told(need: Need, name: str = name) -> None:
            tell(name, need)

        build_cache(dataset, folder, workers=workers, tell=told, progress=progress)


def _below(dataset: Any, root: Path) -> bool:
    folder: Path | None = getattr(dataset, "image_dir", None)
    return folder is not None and folder.resolve().is_relative_to(root.resolve())
