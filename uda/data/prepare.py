"""A downloaded data set made ready: train ids beside the labels, statistics at the root."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from uda.data.label_conversion import Conversion, ConvertedLabel, convert_label
from uda.data.layouts import LAYOUTS, LabelFile, Layout
from uda.data.parallel import parallel_map
from uda.data.statistics import ClassStatistics
from uda.files import remove_partial_files

STATISTICS_NAME = "class_statistics.json"


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did.

    Attributes:
        layout: The layout used.
        converted: Number of label files converted by this run.
        kept: Number of files that an earlier run, or another tool, had converted.
        statistics: Counts over the training labels; None when there are none.
        statistics_path: Where they were written; None when there are none.
        warnings: Sentences for the user.
    """

    layout: Layout
    converted: int
    kept: int
    statistics: ClassStatistics | None
    statistics_path: Path | None
    warnings: list[str] = field(default_factory=list)


def prepare(
    layout: str | Layout,
    root: str | Path,
    *,
    workers: int = 1,
    out: str | Path | None = None,
    force: bool = False,
    unknown: Literal["error", "ignore"] = "error",
    skip_mismatched: bool = False,
    console: Console | None = None,
) -> Prepared:
    """Train ids of every label of a data set, and ``class_statistics.json`` of its training part.

    Originals are only read. Each converted file appears complete or not at all, so a run that was
    stopped is continued by starting it again. Counts are at the labels' own resolution.

    Args:
        layout: A name of `uda.data.layouts.LAYOUTS`, or a layout.
        root: Folder of the data set.
        workers: Processes (see `uda.data.parallel.parallel_map`).
        out: Folder for what is written, in the same tree, when `root` is read-only.
        force: Convert again what is converted already.
        unknown: ``"ignore"`` maps ids and colours that the convention does not define to 255.
        skip_mismatched: Leave out labels that differ in size from their image, instead of refusing.
        console: Where the progress bar goes; standard error by default.

    Raises:
        FileNotFoundError: The root, or a folder of the tree, is missing.
        PermissionError: The folder to write in cannot be written.
        ValueError: A label is damaged or does not follow the convention, sizes differ, or there are
            no labels; the message names the file.
    """
    layout = _layout(layout)
    root = Path(root).absolute()  # for messages that can be found again
    out = root if out is None else Path(out).absolute()
    files = _find(layout, root)
    if files:
        _make_writable(out)
        for folder in {out / file.converted.parent for file in files}:
            remove_partial_files(folder)
    # 255 columns serve any number of classes; unused ones are cut off afterwards.
    num_classes = _num_classes(layout) or 255
    how = Conversion(root, out, layout.convention, num_classes, unknown, force)
    results = _convert_all(files, how, workers, console or Console(stderr=True))
    _check_sizes(results, skip_mismatched)
    statistics = _statistics(layout, results)
    path = None
    if statistics is not None:
        path = out / STATISTICS_NAME
        statistics.save(path)
    statuses = Counter(result.status for result in results)
    return Prepared(
        layout=layout,
        converted=statuses["converted"],
        kept=statuses["kept"],
        statistics=statistics,
        statistics_path=path,
        warnings=_warnings(layout, (root, out), results, statistics),
    )


def statistics_table(prepared: Prepared) -> Table:
    """Table of the classes with pixels, share of the labelled pixels and number of images.

    Args:
        prepared: Result of `prepare` that has statistics.

    Raises:
        ValueError: There are no statistics.
    """
    statistics = prepared.statistics
    if statistics is None:
        raise ValueError(f"{prepared.layout.name}: no training labels, so no statistics to show")
    table = Table(title=f"{len(statistics.files)} training labels")
    table.add_column("class")
    for column in ("pixels", "share", "images"):
        table.add_column(column, justify="right")
    total = max(int(statistics.class_pixels.sum()), 1)
    images = statistics.images_with_class
    for row, pixels in enumerate(statistics.class_pixels.tolist()):
        name = class_name(prepared.layout, row)
        table.add_row(name, f"{pixels:,}", f"{100 * pixels / total:.3f} %", str(images[row]))
    return table


def class_name(layout: Layout, train_id: int) -> str:
    """Name of a class, its number where the layout has no names."""
    named = train_id < len(layout.classes)
    return layout.classes[train_id] if named else f"class {train_id}"


def _layout(layout: str | Layout) -> Layout:
    if isinstance(layout, Layout):
        return layout
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is not known; known are {', '.join(sorted(LAYOUTS))}")
    return LAYOUTS[layout]


def _num_classes(layout: Layout) -> int:
    if layout.classes:
        return len(layout.classes)
    return layout.convention.num_classes if layout.convention is not None else 0


def _find(layout: Layout, root: Path) -> list[LabelFile]:
    if not root.is_dir():
        raise FileNotFoundError(f"data set folder not found: {root}")
    files = layout.find(root)
    if not files and layout.labels_needed:
        raise ValueError(
            f"no {layout.name} label files found in {root}; data/README.md shows the tree wanted"
        )
    return files


def _make_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ValueError(f"{out} is a file; a folder was wanted to write in") from None
    if not os.access(out, os.W_OK):
        raise PermissionError(f"cannot write in {out}; give another folder with --out DIR")


def _convert_all(
    files: Sequence[LabelFile], how: Conversion, workers: int, console: Console
) -> list[ConvertedLabel]:
    columns = (
        TextColumn("labels"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    results = []
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("labels", total=len(files))
        for result in parallel_map(partial(convert_label, how=how), files, workers=workers):
            results.append(result)
            progress.advance(task)
    return results


def _check_sizes(results: Iterable[ConvertedLabel], skip_mismatched: bool) -> None:
    wrong = [result.detail for result in results if result.status == "size differs"]
    if wrong and not skip_mismatched:
        more = f" ({len(wrong) - 1} more such pairs)" if len(wrong) > 1 else ""
        raise ValueError(
            f"{wrong[0]}{more}; the other labels are converted. Replace or remove these pairs, or "
            "leave them out with --skip-mismatched"
        )


def _statistics(layout: Layout, results: Iterable[ConvertedLabel]) -> ClassStatistics | None:
    rows = [(r.file, r.counts) for r in results if r.counts is not None and r.file.counted]
    if not rows:
        return None
    counts = np.stack([row for _, row in rows])
    if not _num_classes(layout):
        # Plain train ids without a class list: as many classes as the highest id found.
        counts = counts[:, : max(np.flatnonzero(counts.any(axis=0)), default=0) + 1]
    names = [file.converted.relative_to(layout.label_root).as_posix() for file, _ in rows]
    return ClassStatistics(files=names, counts=counts)


def _warnings(
    layout: Layout,
    folders: tuple[Path, Path],
    results: Sequence[ConvertedLabel],
    statistics: ClassStatistics | None,
) -> list[str]:
    root, out = folders
    warnings = []
    for status, sentence in (
        ("no image", "labels have no image and are left out"),
        ("size differs", "labels differ in size from their image and are left out"),
    ):
        of_status = [r for r in results if r.status == status]
        if of_status:
            first = root / of_status[0].file.label
            warnings.append(f"{len(of_status)} {sentence}, first {first}")
    foreign = [r for r in results if r.differing > 0]
    if foreign:
        worst = max(foreign, key=lambda r: r.differing)
        warnings.append(
            f"{len(foreign)} train id files of another tool are kept though they differ from our "
            f"conversion, at most {100 * worst.differing:.2f} % of the pixels "
            f"({out / worst.file.converted}); --force replaces them"
        )
    if statistics is None:
        warnings.append(f"no training labels: {STATISTICS_NAME} is not written")
    elif (statistics.class_pixels == 0).any():
        empty = [class_name(layout, int(k)) for k in np.flatnonzero(statistics.class_pixels == 0)]
        warnings.append(f"no pixel of: {', '.join(empty)}; rare class sampling cannot draw these")
    return warnings
