"""Writing a cache: what is there is kept, and the space it takes is known before."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from uda.data.cache.format import CachedFile, CacheFileError, cached_bytes, write_cached
from uda.data.cache.steps import (
    SETTINGS,
    CachePlan,
    cache_plan,
    changed,
    source_of,
    split_results,
)
from uda.data.images import read_image
from uda.data.parallel import parallel_map
from uda.files import remove_partial_files, write_atomically


@dataclass(frozen=True)
class Need:
    """What a cache of a data set takes.

    Attributes:
        folder: Where it lies.
        images: Of the data set.
        kept: How many are there already.
        wanted: Bytes to write.
        free: Bytes that are free there.
    """

    folder: Path
    images: int
    kept: int
    wanted: int
    free: int

    def told(self) -> str:
        """One line."""
        return (
            f"{self.images} images, {self.kept} of them cached; {self.wanted:,} bytes to write to "
            f"{self.folder}, {self.free:,} bytes are free there"
        )


def build_cache(
    dataset: Any,
    cache: str | Path,
    *,
    workers: int = 1,
    tell: Callable[[Need], None] = lambda need: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Need:
    """Cache the images of a data set; a stopped run is continued by the same call.

    Each file appears whole or not at all. One that is there, whole and of the files as they are, is
    kept; one that is stale or damaged is written again.

    Args:
        dataset: A `FolderDataset` whose pipeline begins with `LoadImage`.
        cache: Folder of all caches; made if it is missing.
        workers: Processes (see `uda.data.parallel.parallel_map`).
        tell: Called with what it takes, before anything is written.
        progress: Called with the number of images done and their total.

    Raises:
        OSError: The disk is full, or has too little space to begin with; both with the bytes that
            are wanted and free. A file cannot be read.
        ValueError: The data set cannot be cached, or a label is wrong.
    """
    plan = cache_plan(dataset)
    if plan is None:
        raise ValueError(
            f"cannot cache {dataset!r}: only a FolderDataset whose pipeline begins with LoadImage "
            "has steps that always give the same"
        )
    cache = Path(cache).absolute()
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    need = space(plan, cache, infos)
    tell(need)
    if need.wanted > need.free:
        raise OSError(
            f"the disk is too small for the cache {need.folder}: it needs {need.wanted:,} bytes "
            f"more, {need.free:,} bytes are free there; make room, or give another disk with "
            "--cache-dir"
        )
    told = json.dumps(plan.settings, indent=1, sort_keys=True) + "\n"
    write_atomically(need.folder / SETTINGS, told.encode("ascii"))
    for folder in {plan.file(cache, info).parent for info in infos}:
        remove_partial_files(folder)
    write = partial(cache_image, plan, cache)
    for done, _ in enumerate(parallel_map(write, infos, workers=workers), start=1):
        progress(done, len(infos))
    return need


def cache_image(plan: CachePlan, cache: Path, info: Mapping[str, Any]) -> bool:
    """Whether an image had to be cached: nothing is done where that is still right.

    Args:
        plan: Of the data set.
        cache: Folder of all caches.
        info: Of the image.
    """
    path = plan.file(cache, info)
    if state_of(plan, path, info) is None:
        return False
    # Digests first: should a file change in between, its time will tell.
    sources = tuple(source_of(name, full) for name, full in plan.paths(info))
    results: dict[str, Any] = copy.deepcopy(dict(info))
    for step in plan.steps:
        results = step(results)
    arrays, values = split_results(info, results)
    write_cached(path, arrays, key=plan.key, sources=sources, values=values)
    return True


def state_of(plan: CachePlan, path: Path, info: Mapping[str, Any]) -> str | None:
    """Why a cached file cannot be used, its digest compared; None: it can.

    Args:
        plan: Of the data set.
        path: The file.
        info: Of the image.
    """
    try:
        cached = CachedFile.open(path)
    except FileNotFoundError:
        return "it is not there"
    except (CacheFileError, OSError) as error:
        return str(error)
    fault = changed(cached, plan, info)
    return "its content is damaged" if fault is None and not cached.whole() else fault


def space(plan: CachePlan, cache: Path, infos: Sequence[Mapping[str, Any]]) -> Need:
    """What a cache takes, from the headers of the images that are not in it.

    Args:
        plan: Of the data set.
        cache: Folder of all caches.
        infos: Of all images.
    """
    kept, wanted = 0, 0
    for info in infos:
        size = cached_bytes(plan.shapes(_size(info["img_path"])))
        if plan.file(cache, info).is_file():
            kept += 1  # one that has to be written again takes the place of the old one
        else:
            wanted += size
    return Need(cache / plan.name, len(infos), kept, wanted, _free(cache.parents, cache))


def _free(parents: Iterable[Path], folder: Path) -> int:
    there = next(one for one in (folder, *parents) if one.is_dir())
    return shutil.disk_usage(there).free


def _size(path: str) -> tuple[int, int]:
    """Height and width of an image, by its header where Pillow knows the format."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise FileNotFoundError(f"image file not found: {path}") from None
    except Exception:
        height, width = read_image(path).shape[:2]
        return height, width
