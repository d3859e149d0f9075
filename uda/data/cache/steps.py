"""Which steps of a pipeline a cache stands for, and the name of a cache that does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
import PIL
from mmseg.datasets.transforms import Resize
from numpy.typing import NDArray

from uda.data.cache.format import SUFFIX, VERSION, CachedFile, Source
from uda.data.folder import FolderDataset
from uda.data.labels import label_items
from uda.data.margins import VALID, PseudoLabelMargins
from uda.data.transforms import LoadImage, LoadLabel

SETTINGS = "settings.json"


@dataclass(frozen=True)
class CachePlan:
    """What is cached of a data set.

    Attributes:
        name: Of the folder in the cache: the folder of images, and a digest of `settings`.
        settings: Everything that decides what a cached file holds, but for the files themselves.
        steps: The first steps of the pipeline, whose result is cached.
        image_dir: Folder of the images.
        label_dir: Folder of the labels, or None.
    """

    name: str
    settings: Mapping[str, Any]
    steps: tuple[Any, ...]
    image_dir: Path
    label_dir: Path | None

    @property
    def key(self) -> str:
        """The digest of the settings."""
        return self.name.rpartition("-")[2]

    def file(self, cache: Path, info: Mapping[str, Any]) -> Path:
        """Where the result for an image lies.

        Args:
            cache: Folder of all caches.
            info: Of the image, from `FolderDataset.get_data_info`.
        """
        name = Path(info["img_path"]).relative_to(self.image_dir).as_posix()
        return cache / self.name / (name + SUFFIX)

    def paths(self, info: Mapping[str, Any]) -> list[tuple[str, Path]]:
        """Name and full path of the files that the result for an image is made of."""
        paths = [(Path(info["img_path"]), self.image_dir)]
        if self.label_dir is not None and any(isinstance(s, LoadLabel) for s in self.steps):
            paths.append((Path(info["seg_map_path"]), self.label_dir))
        return [(path.relative_to(folder).as_posix(), path) for path, folder in paths]

    def shapes(self, size: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        """Shapes of the cached arrays of an image of a size (height, width)."""
        for step in self.steps:
            if isinstance(step, Resize):
                size = _resized(size, step)
        shapes: dict[str, tuple[int, ...]] = {"img": (*size, 3)}
        if any(isinstance(step, LoadLabel) for step in self.steps):
            shapes["gt_seg_map"] = size
        if any(isinstance(step, PseudoLabelMargins) for step in self.steps):
            shapes[VALID] = size
        return shapes


def cache_plan(dataset: Any) -> CachePlan | None:
    """What can be cached of a data set; None where its pipeline is not known well enough.

    Cached is the result of the first steps, as far as they are of kinds that always give the same:
    reading of image and label, margins, and resizing to a fixed size. What is drawn comes after.

    Args:
        dataset: Only a `FolderDataset` whose first step is `LoadImage` can be cached.
    """
    if not isinstance(dataset, FolderDataset):
        return None
    steps: list[Any] = []
    told: list[dict[str, Any]] = []
    for step in dataset.pipeline.transforms:
        description = _described(step, dataset)
        if description is None:
            break
        steps.append(step)
        told.append(description)
    if not steps or type(steps[0]) is not LoadImage:
        return None
    settings = {
        "version": VERSION,
        "image_dir": str(dataset.image_dir.resolve()),
        "label_dir": None if dataset.label_dir is None else str(dataset.label_dir.resolve()),
        "steps": told,
        # Another version may decode or resize to other bits.
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    return CachePlan(
        f"{dataset.image_dir.resolve().name}-{key}",
        settings,
        tuple(steps),
        dataset.image_dir,
        dataset.label_dir,
    )


def source_of(name: str, path: Path) -> Source:
    """A file as it is now."""
    before = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source(name, before.st_size, before.st_mtime_ns, digest)


def changed(
    cached: CachedFile,
    plan: CachePlan,
    info: Mapping[str, Any],
    compared: set[tuple[Path, int]] | None = None,
) -> str | None:
    """What has changed since a file was cached; None: nothing.

    Files of the size and time that were noted are taken for the same; those of another time are
    read, and are the same if their digest is.

    Args:
        cached: The open file.
        plan: Of the data set.
        info: Of the image.
        compared: Path and time of files that were read and found the same; they are not read again,
            and further ones are added.
    """
    compared = set() if compared is None else compared
    paths = plan.paths(info)
    if cached.key != plan.key or [n for n, _ in paths] != [s.path for s in cached.sources]:
        return "it was made of other files or by other settings"
    for (_, path), source in zip(paths, cached.sources, strict=True):
        try:
            now = path.stat()
        except OSError:
            return f"{path} cannot be read"
        if now.st_size != source.size:
            return f"{path} has changed"
        if now.st_mtime_ns != source.modified and (path, now.st_mtime_ns) not in compared:
            if not _same_content(path, source):
                return f"{path} has changed"
            compared.add((path, now.st_mtime_ns))
    return None


def _same_content(path: Path, source: Source) -> bool:
    return source_of(source.path, path).digest == source.digest


def split_results(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and other values that some steps added to what is known of an image, or changed.

    Args:
        before: What was known.
        after: What the steps made of it.
    """
    arrays = {name: value for name, value in after.items() if isinstance(value, np.ndarray)}
    values = {
        name: value
        for name, value in after.items()
        if name not in arrays and (name not in before or before[name] != value)
    }
    return arrays, values


def _described(step: Any, dataset: FolderDataset) -> dict[str, Any] | None:
    """What a step does, if it always does the same; None for any other."""
    if type(step) is LoadImage:
        return {"type": "LoadImage"}
    if type(step) is LoadLabel:
        return {
            "type": "LoadLabel",
            "label_map": label_items(dataset.label_map),
            "num_classes": dataset.num_classes,
            "unmapped": dataset.unmapped,
        }
    if type(step) is PseudoLabelMargins:
        return {"type": "PseudoLabelMargins", "margins": step.margins, "size": step.size}
    if type(step) is Resize:
        names = ("scale", "scale_factor", "keep_ratio", "backend", "interpolation")
        return {"type": "Resize", **{name: getattr(step, name) for name in names}}
    return None


def _resized(size: tuple[int, int], step: Resize) -> tuple[int, int]:
    width_height = (size[1], size[0])
    if not step.scale:
        factor = step.scale_factor
        width, height = (int(n * f + 0.5) for n, f in zip(width_height, factor, strict=True))
    elif step.keep_ratio:
        width, height = mmcv.image.geometric.rescale_size(width_height, step.scale)
    else:
        width, height = step.scale
    return int(height), int(width)
