"""Class statistics of a data set: found beside its labels, or counted and kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from uda.data.statistics import ClassStatistics, count_folder
from uda.data.statistics_formats import is_own_format

FILE_NAME = "class_statistics.json"
# What the reference's tools call theirs; read where ours is not, never written.
OLDER_NAMES = ("sample_class_stats.json", "sample_class_stats_dict.json", "samples_with_class.json")
# `tools/prepare_data.py` writes at the data set's root; Cityscapes labels lie two folders deeper.
FOLDERS_ABOVE = 3
# Below this many files, starting processes costs more than it saves.
FILES_FOR_PROCESSES = 2000


def dataset_statistics(dataset: Any, path: str | Path | None = None) -> ClassStatistics:
    """Pixels per class and image of a labelled data set, one row an image, in its order.

    With no `path`, ``class_statistics.json`` and the older tools' three files are looked for in the
    label folder and in the three folders above it. What is found counts only if it has every label
    file and its first and last rows agree with the files (label map or class list may have changed
    since). Otherwise the labels are counted and kept in `path` or in the label folder. A file that
    is there is replaced only if it is a ``class_statistics.json`` by its content: one of another
    format or a damaged one is left alone, and beside a `path` of that kind a
    ``class_statistics.json`` is written if there is none. Else the counts stay in memory, and the
    log says so.

    Args:
        dataset: A `FolderDataset`, or any data set whose `get_data_info` gives ``seg_map_path``.
        path: Statistics file to use and to write.

    Raises:
        ValueError: The data set has no labels, or a label is wrong.
    """
    labels = _label_paths(dataset)
    root = _label_root(dataset, labels)
    found, refusals = _find(dataset, labels, root, statistics_places(root, path))
    for refusal in refusals:
        print_log(refusal, "current", logging.WARNING)
    if found is not None:
        return found[0]
    where = root.absolute()
    print_log(f"counting the classes of {len(labels)} label files in {where}", logger="current")
    statistics = _count(dataset, labels, root)
    _keep(statistics, root / FILE_NAME if path is None else Path(path), may_move=path is not None)
    return statistics


def known_statistics(dataset: Any) -> ClassStatistics | None:
    """Statistics of a data set if a file has them already, else None; nothing is counted."""
    if getattr(dataset, "label_dir", None) is None:
        return None
    try:
        labels = _label_paths(dataset)
        root = _label_root(dataset, labels)
        found = _find(dataset, labels, root, statistics_places(root, None))[0]
    except (OSError, ValueError):
        return None  # A label is wrong, which loading it will say.
    return None if found is None else found[0]


def statistics_of_all(
    datasets: Sequence[Any], paths: str | Sequence[str] | None
) -> list[ClassStatistics]:
    """`dataset_statistics` of each of a domain's data sets.

    Args:
        datasets: Labelled data sets.
        paths: File of each; None: beside its labels. A single one may do without a list.

    Raises:
        ValueError: There are more or fewer files than data sets.
    """
    files: list[str | None] = [None] * len(datasets)
    if paths is not None:
        files = [paths] if isinstance(paths, str) else list(paths)
    if len(files) != len(datasets):
        raise ValueError(
            f"rare class sampling: statistics names {len(files)} file(s) for {len(datasets)} "
            "source data sets; give a list with one for each, or leave it out to keep them beside "
            "the labels"
        )
    return [
        dataset_statistics(dataset, file) for dataset, file in zip(datasets, files, strict=True)
    ]


def known_of_all(datasets: Sequence[Any]) -> list[ClassStatistics] | None:
    """`known_statistics` of each of a domain's data sets; None unless all are known."""
    found = [known_statistics(dataset) for dataset in datasets]
    known = [one for one in found if one is not None]
    return known if len(known) == len(found) else None


def stored_statistics(
    dataset: Any, path: str | Path | None = None
) -> tuple[ClassStatistics, Path] | None:
    """The statistics that `dataset_statistics` would take from a file, and that file; else None.

    Args:
        dataset: See `dataset_statistics`.
        path: See `dataset_statistics`.

    Raises:
        ValueError: The data set has no labels, or a label is wrong.
    """
    labels = _label_paths(dataset)
    root = _label_root(dataset, labels)
    return _find(dataset, labels, root, statistics_places(root, path))[0]


def _label_paths(dataset: Any) -> list[Path]:
    return [_label_path(dataset, index) for index in range(len(dataset))]


def _label_root(dataset: Any, labels: list[Path]) -> Path:
    label_dir = getattr(dataset, "label_dir", None)
    return Path(label_dir) if label_dir else Path(os.path.commonpath([p.parent for p in labels]))


def statistics_places(root: Path, path: str | Path | None) -> list[Path]:
    """Where the statistics of a label folder may lie; the first that fits counts.

    Args:
        root: Label folder.
        path: The file asked for; None looks in the label folder and those above it.
    """
    if path is not None:
        return list(dict.fromkeys((Path(path), Path(path).with_name(FILE_NAME))))
    folders = [root, *root.parents][: 1 + FOLDERS_ABOVE]
    return [folder / name for folder in folders for name in (FILE_NAME, *OLDER_NAMES)]


def _find(
    dataset: Any, labels: list[Path], root: Path, places: list[Path]
) -> tuple[tuple[ClassStatistics, Path] | None, list[str]]:
    """The first statistics of exactly these labels, and why others were not used."""
    refusals: list[str] = []
    for place in places:
        if not place.is_file():
            continue
        try:
            return (_load_matching(place, dataset, labels, root), place), refusals
        except _NotTheseError as error:
            refusals.append(f"class statistics {place.absolute()} are not used: {error}")
    return None, refusals


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


class _NotTheseError(Exception):
    """A statistics file is not of these labels."""


def _load_matching(place: Path, dataset: Any, labels: list[Path], root: Path) -> ClassStatistics:
    files = [label.relative_to(root).as_posix() for label in labels]
    try:
        found = ClassStatistics.load(place, num_classes=len(dataset.metainfo["classes"]))
        found = found.select(files)
    except (OSError, ValueError) as error:
        raise _NotTheseError(str(error)) from error
    ends = sorted({0, len(labels) - 1})
    fresh = _count(dataset, [labels[index] for index in ends], root)
    if (fresh.counts != found.counts[ends]).any():
        raise _NotTheseError("its numbers are not those of the label files and this label_map")
    return found


def _keep(statistics: ClassStatistics, place: Path, *, may_move: bool) -> None:
    """Write the statistics, never over a file that is not a statistics file of ours."""
    if place.exists() and not is_own_format(place):
        reason = f"{place.absolute()} is of another format and left as it is"
        place = place.with_name(FILE_NAME)
        if not may_move or place.exists():
            print_log(
                f"class statistics stay in memory: {reason}; remove it, and the counts are kept",
                "current",
                logging.WARNING,
            )
            return
        print_log(f"class statistics go to {place.absolute()}: {reason}", "current")
    try:
        statistics.save(place)
    except OSError as error:
        print_log(f"class statistics stay in memory: {error}", "current", logging.WARNING)
