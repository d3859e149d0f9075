"""A data set that reads its images from a cache, to the bit what it reads from the files."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform, RandomResize
from mmengine.dataset import Compose
from mmengine.logging import print_log
from mmseg.datasets.transforms import RandomCrop
from numpy.typing import NDArray

from uda.data.cache.format import SUFFIX, CachedFile, CacheFileError
from uda.data.cache.steps import SETTINGS, CachePlan, cache_plan, changed

# Where the open file of an image is, until its crop has been cut out.
OPEN = "_cached"
_EXACT_PIXELS = 2**24  # counts of a histogram in float32 are exact up to here


def use_cache(dataset: Any, cache: str | Path, name: str) -> bool:
    """Whether a data set reads from a cache from now on: if there is one of it.

    The item of an image and draw stays the same to the bit. Where the cache lacks an image, or has
    it of other files, or damaged, the image is read from its files, with one warning.

    Args:
        dataset: Changed in place; only a `FolderDataset` has a cache.
        cache: Folder of all caches, which need not be there.
        name: Of the data set, for the log.
    """
    cache = Path(cache).absolute()
    plan = cache_plan(dataset) if cache.is_dir() else None
    if plan is None:
        return False
    folder = cache / plan.name
    if not folder.is_dir():
        _tell_of_others(cache, plan, name)
        return False
    steps = dataset.pipeline.transforms
    crop = steps[len(plan.steps)] if len(steps) > len(plan.steps) else None
    rest = list(steps[len(plan.steps) :])
    if type(crop) is RandomCrop:
        rest[0] = CachedCrop(crop)
    # Resizing makes new arrays; other steps may write into those they are given.
    load = LoadCached(plan, cache, lazy=type(crop) is RandomCrop, copies=not _resizes(crop))
    dataset.pipeline = Compose([load, *rest])
    print_log(f"{name}: images are read from the cache {folder}", "current", logging.INFO)
    return True


class LoadCached(BaseTransform):
    """The result of the first steps of a pipeline, from a cache, or by the steps themselves.

    Args:
        plan: What is cached.
        cache: Folder of all caches.
        lazy: `CachedCrop` follows: arrays are views of the file, and rows of the image are compared
            with their sums by the crop.
        copies: Give arrays that may be written into.
    """

    def __init__(
        self, plan: CachePlan, cache: Path, *, lazy: bool = False, copies: bool = True
    ) -> None:
        self.plan, self.cache = plan, cache
        self.lazy, self.copies = lazy, copies
        self._compared: set[tuple[Path, int]] = set()
        # In memory that the processes of a loader share, so that one of them warns.
        self._warned = torch.zeros(1, dtype=torch.bool).share_memory_()

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Image, label and sizes, from the cache if it has them as they are now."""
        path = self.plan.file(self.cache, results)
        try:
            cached = CachedFile.open(path)
            fault = changed(cached, self.plan, results, self._compared)
        except FileNotFoundError:
            return self.from_files(results, path, "it is not there")
        except (CacheFileError, OSError) as error:
            return self.from_files(results, path, str(error))
        names = [name for name in cached.arrays if not (self.lazy and name == "img")]
        if fault is None and not all(cached.intact(name) for name in names):
            fault = "its pixels are damaged"
        if fault is not None:
            return self.from_files(results, path, fault)
        found = {**results, **copy.deepcopy(cached.values), **cached.arrays}
        if self.lazy:
            found[OPEN] = (cached, partial(self.from_files, dict(results), path))
        elif self.copies:
            found.update({name: array.copy() for name, array in cached.arrays.items()})
        return found

    def from_files(self, results: dict[str, Any], path: Path, why: str) -> dict[str, Any]:
        """What the steps themselves make of the files; the first time, with a warning.

        Args:
            results: What is known of the image.
            path: The cached file that cannot be used.
            why: A clause.
        """
        if not bool(self._warned):
            self._warned.fill_(True)
            print_log(
                f"the cached file {path} is not used: {why}. This image, and others of which the "
                "same is true, are read from their files, which is slower; run "
                "`python tools/prepare_data.py --cache CONFIG` again",
                "current",
                logging.WARNING,
            )
        results = copy.deepcopy(results)
        for step in self.plan.steps:
            results = step(results)
        return results

    def __repr__(self) -> str:
        """What it stands for."""
        return f"LoadCached({', '.join(map(repr, self.plan.steps))})"


class CachedCrop(BaseTransform):
    """The crop that `RandomCrop` draws, cut out of a cached file and copied.

    The draws, and what `cat_max_ratio` makes of them, are those of mmseg's transform; classes are
    counted by a histogram, not by sorting.

    Args:
        crop: The transform.
    """

    def __init__(self, crop: RandomCrop) -> None:
        self.size: tuple[int, int] = tuple(crop.crop_size)
        self.most, self.ignore_index = crop.cat_max_ratio, crop.ignore_index

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Cut image and labels alike."""
        opened = results.pop(OPEN, None)
        box = self._box(results)
        if opened is not None:
            cached, from_files = opened
            if not cached.intact("img", box[0].start, box[0].stop):
                results = from_files("its pixels are damaged")
        for name in ("img", *results.get("seg_fields", [])):
            results[name] = np.ascontiguousarray(results[name][box])
            if not results[name].flags.writeable:  # the crop is the whole
                results[name] = results[name].copy()
        results["img_shape"] = results["img"].shape[:2]
        return results

    def _box(self, results: Mapping[str, Any]) -> tuple[slice, slice]:
        shape = results["img"].shape[:2]
        box = self._draw(shape)
        if self.most < 1:
            for _ in range(10):
                if self._is_varied(results["gt_seg_map"][box]):
                    break
                box = self._draw(shape)
        return box

    def _draw(self, shape: Sequence[int]) -> tuple[slice, slice]:
        top, left = (
            np.random.randint(0, max(side - inner, 0) + 1)
            for side, inner in zip(shape, self.size, strict=True)
        )
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])

    def _is_varied(self, label: NDArray[np.uint8]) -> bool:
        counts = counts_of(label)
        if self.ignore_index < len(counts):
            counts[self.ignore_index] = 0
        return bool((counts > 0).sum() > 1 and counts.max() / counts.sum() < self.most)

    def __repr__(self) -> str:
        """Settings as in a config."""
        return f"CachedCrop(crop_size={self.size}, cat_max_ratio={self.most})"


def counts_of(label: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels of each of the 256 ids of a label map.

    >>> counts_of(np.array([[3, 3, 255]], np.uint8))[[3, 255]].tolist()
    [2, 1]
    """
    if label.size > _EXACT_PIXELS:
        return np.bincount(label.ravel(), minlength=256)
    found = cv2.calcHist([label], [0], None, [256], [0, 256])
    return np.asarray(found, np.int64).reshape(-1)  # a column in older versions


def fresh(results: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that transforms may write into, for another try; arrays nobody can write to are kept.

    Args:
        results: What some transforms left.
    """
    return {
        name: value if _is_fixed(value) or name == OPEN else copy.deepcopy(value)
        for name, value in results.items()
    }


def _is_fixed(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not value.flags.writeable


def _resizes(step: Any) -> bool:
    return type(step) is RandomResize


def _tell_of_others(cache: Path, plan: CachePlan, name: str) -> None:
    """Warn where the same images are cached by other settings, which cannot be used."""
    for path in sorted(cache.glob(f"*/{SETTINGS}")):
        try:
            other = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if other.get("image_dir") == plan.settings["image_dir"]:
            print_log(
                f"{name}: the cache {path.parent} holds these images by other settings (labels, "
                "size, or version of a library): they are read from their files. Run `python "
                "tools/prepare_data.py --cache CONFIG` with this config to cache them",
                "current",
                logging.WARNING,
            )
            return


def cached_files(folder: Path) -> int:
    """Number of cached files in a folder."""
    return sum(1 for _ in folder.rglob(f"*{SUFFIX}"))
