"""Reading of training pairs: mmseg's own pipeline, ours from files, and ours from a cache."""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmseg.registry import DATASETS, TRANSFORMS
from numpy.typing import NDArray

from uda.data.cache.build import build_cache
from uda.data.cache.steps import cache_plan
from uda.data.pairs import SourceTargetPairs
from uda.files import write_atomically

# Our steps that read files, and mmseg's.
_OF_MMSEG = {
    "LoadImage": {"type": "LoadImageFromFile"},
    "LoadLabel": {"type": "LoadAnnotations"},
}
# The seconds of one reading: wall and processor.
Seconds = tuple[float, float]
Read = Callable[[int], Any]


@dataclass(frozen=True)
class DataTimes:
    """What reading pairs costs in one way, in one process.

    Attributes:
        way: ``"mmseg"``: its pipeline with the same steps, images in the same order, without rare
            class sampling; ``"files"``: `SourceTargetPairs`; ``"cache"``: the same with a cache;
            ``"cold"``: the same when the system has forgotten the cached files.
        wall_ms: Median milliseconds a pair.
        cpu_ms: Median processor milliseconds a pair, of all threads.
        pairs_per_s: 1000 / `wall_ms`.
        images_per_s: Images a second; 2 a pair, 1 without a target.
        ratio: Speed over mmseg's by wall time: the median of the ratios of each repeat.
        cpu_ratio: The same by processor time.
    """

    way: str
    wall_ms: float
    cpu_ms: float
    pairs_per_s: float
    images_per_s: float
    ratio: float
    cpu_ratio: float

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


def time_data(
    config: Config,
    *,
    images: int = 8,
    size: tuple[int, int] | None = (1024, 2048),
    repeats: int = 7,
    draws: int = 8,
    sampling: bool = False,
) -> list[DataTimes]:
    """Time the reading of training pairs of a config, one way after the other in changing order.

    Args:
        config: From `load_config`; its pipelines are used.
        images: Of each domain.
        size: (height, width) of images that are made up for this (as PNG, labels as well); None
            takes the config's own.
        repeats: How often, after one that does not count.
        draws: Pairs in a repeat.
        sampling: Also draw by the config's rare class sampling.

    Raises:
        ValueError: The config's pairs cannot be cached.
    """
    settings = dict(copy.deepcopy(config.train_dataloader.dataset))
    if settings.get("type") != "SourceTargetPairs":
        raise ValueError("only SourceTargetPairs can be timed; take the config of a method with it")
    if not sampling:
        settings["sampling"] = None
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)  # as in a process of a loader
    cv2.setNumThreads(0)
    try:
        with tempfile.TemporaryDirectory(dir=os.getcwd(), prefix=".benchmark") as folder:
            root = Path(folder)
            for number, domain in enumerate(("source", "target")):
                if settings.get(domain) is not None:
                    one = dict(settings[domain])
                    settings[domain] = (
                        {**one, "indices": images}
                        if size is None
                        else made_up(one, root / domain, images, size, seed=number)
                    )
            ways = _ways(settings, root / "cache")
            cold = partial(_forget, list((root / "cache").rglob("*.cached")))
            return _results(_measured(ways, cold, repeats, draws), settings)
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def made_up(
    settings: Mapping[str, Any], root: Path, images: int, size: tuple[int, int], *, seed: int
) -> dict[str, Any]:
    """The config of a data set, with images that are drawn at random in place of its own.

    They are about as large as photographs: a PNG of 1024x2048 has about 4 MB.
    """
    generator = np.random.default_rng(seed)
    labelled = settings.get("label_dir") is not None
    for number in range(images):
        image = photograph(generator, size)
        write_atomically(root / "images" / f"{number}.png", _png(image))
        if labelled:
            small = generator.integers(0, len(settings["classes"]), (size[0] // 64, size[1] // 64))
            label = np.kron(small, np.ones((64, 64))).astype(np.uint8)
            whole = np.full(size, 255, np.uint8)
            whole[: label.shape[0], : label.shape[1]] = label
            write_atomically(root / "labels" / f"{number}.png", _png(whole))
    kept = {k: v for k, v in settings.items() if k not in ("include", "split_file", "indices")}
    return {
        **kept,
        "data_root": str(root),
        "image_dir": "images",
        "label_dir": "labels" if labelled else None,
        "image_suffix": ".png",
        "label_suffix": ".png",
        "label_map": None,
    }


def photograph(generator: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image (H, W, 3) of large and small shapes, and noise as of a sensor."""
    image = np.full((*size, 3), 128, np.float32)
    for cells, strength in ((4, 60), (16, 30), (64, 15), (256, 8)):
        coarse = generator.normal(0, strength, (cells, 2 * cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    noise = generator.normal(0, 3, image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), np.uint8)


def _png(image: NDArray[np.uint8]) -> bytes:
    return bytes(cv2.imencode(".png", image)[1])


def _ways(settings: Mapping[str, Any], cache: Path) -> dict[str, Read]:
    """Functions that read the pair of a draw."""
    plain: SourceTargetPairs = DATASETS.build({**settings, "cache": None})
    plain.full_init()
    parts = [one for one in (plain.source, plain.target) if one is not None]
    if any(cache_plan(part) is None for part in parts):
        raise ValueError("the pipelines of this config begin with steps that cannot be cached")
    for part in parts:
        build_cache(part, cache)
    cached: SourceTargetPairs = DATASETS.build({**settings, "cache": str(cache)})
    cached.full_init()
    theirs = [
        (part, Compose([TRANSFORMS.build(_OF_MMSEG.get(s["type"], s)) for s in one["pipeline"]]))
        for part, one in zip(parts, _domains(settings), strict=True)
    ]

    def by_mmseg(draw: int) -> Any:
        return [steps(part.get_data_info(draw % len(part))) for part, steps in theirs]

    return {
        "mmseg": by_mmseg,
        "files": lambda draw: plain[(0, draw)],
        "cache": lambda draw: cached[(0, draw)],
        "cold": lambda draw: cached[(0, draw)],
    }


def _domains(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [settings[name] for name in ("source", "target") if settings.get(name) is not None]


def _measured(
    ways: Mapping[str, Read], forget: Callable[[], None], repeats: int, draws: int
) -> dict[str, list[Seconds]]:
    """Seconds a pair of each way and repeat."""
    times: dict[str, list[Seconds]] = {way: [] for way in ways}
    order = list(ways)
    for repeat in range(repeats + 1):
        for way in order[repeat % len(order) :] + order[: repeat % len(order)]:
            wall = cpu = 0.0
            for draw in range(repeat * draws, (repeat + 1) * draws):
                if way == "cold":
                    forget()
                begun = time.perf_counter(), time.process_time()
                ways[way](draw)
                wall += time.perf_counter() - begun[0]
                cpu += time.process_time() - begun[1]
            if repeat:
                times[way].append((wall / draws, cpu / draws))
    return times


def _results(times: Mapping[str, list[Seconds]], settings: Mapping[str, Any]) -> list[DataTimes]:
    theirs, images = np.array(times["mmseg"]), len(_domains(settings))
    found = []
    for way, seconds in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*seconds, strict=True))
        ratio, cpu_ratio = np.median(theirs / np.array(seconds), axis=0).tolist()
        found.append(
            DataTimes(way, 1000 * wall, 1000 * cpu, 1 / wall, images / wall, ratio, cpu_ratio)
        )
    return found


def _forget(files: Sequence[Path]) -> None:
    """Have the system drop the content of files from its memory, where it can."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
