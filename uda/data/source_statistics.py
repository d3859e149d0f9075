"""Class statistics of a data set: found beside its labels, or counted and kept."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from uda.data.statistics import ClassStatistics, count_folder

FILE_NAME = "class_statistics.json"
# `tools/prepare_data.py` writes at the data set's root; Cityscapes labels lie two folders deeper.
FOLDERS_ABOVE = 3
# Below this many files, starting processes costs more than it saves.
FILES_FOR_PROCESSES = 2000


def dataset_statistics(dataset: Any, path: str | Path | None = None) -> ClassStatistics:
    """Pixels per class and image of a labelled data set, one row an image, in its order.

    With no `path`, ``class_statistics.json`` is looked for in the label folder and in the three
    folders above it. What is found counts only if it has every label file and its first and last
    rows agree with the files (label map or class list may have changed since). Otherwise the labels
    are counted and written to `path` or to the label folder; where that cannot be written they stay
    in memory.

    Args:
        dataset: A `FolderDataset`, or any data set whose `get_data_info` gives ``seg_map_path``.
        path: Statistics file to use and to write.

    Raises:
        ValueError: The data set has no labels, or a label is wrong.
    """
    labels = [_label_path(dataset, index) for index in range(len(dataset))]
    label_dir = getattr(dataset, "label_dir", None)
    root = Path(label_dir) if label_dir else Path(os.path.commonpath([p.parent for p in labels]))
    folders = [root, *root.parents][: 1 + FOLDERS_ABOVE]
    places = [folder / FILE_NAME for folder in folders] if path is None else [Path(path)]
    for place in places:
        found = _load_matching(place, dataset, labels, root) if place.is_file() else None
        if found is not None:
            return found
    print_log(f"counting the classes of {len(labels)} label files in {root}", logger="current")
    statistics = _count(dataset, labels, root)
    _keep(statistics, places[0])
    return statistics


def _label_path(dataset: Any, index: int) -> Path:
    info = dataset.get_data_info(index)
    if info.get("seg_map_path") is None:
        raise ValueError(
            f"rare class sampling needs labels, but image {info.get('img_path')} has none "
            "(label_dir=None); give the source a label_dir, or leave sampling out"
        )
    return Path(info["seg_map_path"])


def _count(dataset: Any, labels: list[Path], root: Path) -> ClassStatistics:
    num_classes = len(dataset.metainfo["classes"])
    label_map = dataset.get_data_info(0).get("label_map")
    if getattr(dataset, "unmapped", "error") == "ignore":
        named = {index: index for index in range(num_classes)} if label_map is None else label_map
        label_map = {**dict.fromkeys(range(65536), 255), **named}
    workers = min(8, os.cpu_count() or 1) if len(labels) >= FILES_FOR_PROCESSES else 1
    return count_folder(
        labels, num_classes=num_classes, label_map=label_map, root=root, workers=workers
    )


def _load_matching(
    place: Path, dataset: Any, labels: list[Path], root: Path
) -> ClassStatistics | None:
    """Statistics of a file if they are of these labels, else None with a line in the log."""
    files = [label.relative_to(root).as_posix() for label in labels]
    try:
        found = ClassStatistics.load(place, num_classes=len(dataset.metainfo["classes"]))
        found = found.select(files)
    except ValueError as error:
        _log_refusal(place, str(error))
        return None
    ends = sorted({0, len(labels) - 1})
    fresh = _count(dataset, [labels[index] for index in ends], root)
    if (fresh.counts != found.counts[ends]).any():
        _log_refusal(place, "its numbers are not those of the label files and this label_map")
        return None
    return found


def _log_refusal(place: Path, reason: str) -> None:
    print_log(f"class statistics {place} are not used: {reason}", "current", logging.WARNING)


def _keep(statistics: ClassStatistics, place: Path) -> None:
    try:
        statistics.save(place)
    except OSError as error:
        print_log(f"class statistics are not kept in {place}: {error}", "current", logging.WARNING)
