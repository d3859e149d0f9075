"""Pixels per class and image: the numbers rare class sampling lives on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from uda.data.class_tables import IGNORE_INDEX
from uda.data.labels import read_label
from uda.data.look_up import look_up_table
from uda.data.parallel import parallel_map
from uda.data.statistics_formats import FORMAT_VERSION, read_statistics
from uda.files import write_atomically


@dataclass(frozen=True, eq=False)
class ClassStatistics:
    """Pixel counts of every class in every label file of one data set.

    Attributes:
        files: POSIX paths of the label files relative to the label folder, without repetition.
        counts: int64 (images, K), pixels of class k in image i at the label's own resolution;
            ignored pixels (255) are in no column.

    Example:
        >>> stats = ClassStatistics(files=["a.png", "b.png"], counts=np.array([[6, 2], [8, 0]]))
        >>> stats.num_classes, stats.class_pixels.tolist(), stats.images_with_class.tolist()
        (2, [14, 2], [2, 1])
    """

    files: list[str]
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check that the table and the list of files belong together."""
        counts = np.asarray(self.counts)
        if counts.ndim != 2 or not np.issubdtype(counts.dtype, np.integer):
            raise ValueError(
                "class statistics: counts must be an integer array (images, classes), "
                f"got {counts.dtype} of shape {counts.shape}"
            )
        if len(self.files) != len(counts):
            raise ValueError(
                f"class statistics: {len(self.files)} files but {len(counts)} rows of counts"
            )
        if counts.size and counts.min() < 0:
            raise ValueError(f"class statistics: a pixel count is negative ({counts.min()})")
        repeated = [file for file, times in Counter(self.files).items() if times > 1]
        if repeated:
            raise ValueError(f"class statistics: file {repeated[0]!r} is listed more than once")
        object.__setattr__(self, "files", list(self.files))
        object.__setattr__(self, "counts", counts.astype(np.int64))

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return int(self.counts.shape[1])

    @property
    def class_pixels(self) -> NDArray[np.int64]:
        """Pixels of each class over all images, int64 (K,)."""
        return np.asarray(self.counts.sum(axis=0), dtype=np.int64)

    @property
    def images_with_class(self) -> NDArray[np.int64]:
        """Number of images that hold at least one pixel of each class, int64 (K,)."""
        return np.asarray((self.counts > 0).sum(axis=0), dtype=np.int64)

    def select(self, files: Sequence[str]) -> ClassStatistics:
        """Statistics of the given files, in their order.

        A file is found by its whole relative path, else by its base name when only one row has
        that name: the reference tools matched by base name, and their files carry paths of another
        machine.

        Args:
            files: POSIX paths of label files relative to the label folder.

        Raises:
            ValueError: A file has no row, or its base name fits several rows.

        Example:
            >>> stats = ClassStatistics(files=["x/a.png", "x/b.png"], counts=np.array([[6], [8]]))
            >>> stats.select(["b.png"]).counts.tolist()
            [[8]]
        """
        rows = {file: row for row, file in enumerate(self.files)}
        by_name: dict[str, list[int]] = {}
        for file, row in rows.items():
            by_name.setdefault(PurePosixPath(file).name, []).append(row)
        found = []
        for file in files:
            candidates = [rows[file]] if file in rows else by_name.get(PurePosixPath(file).name, [])
            if len(candidates) != 1:
                reason = "no row" if not candidates else f"{len(candidates)} rows of that name"
                raise ValueError(
                    f"class statistics have {reason} for label file {file!r} (of {len(self.files)} "
                    "files); count the data set again with tools/prepare_data.py"
                )
            found.append(candidates[0])
        return ClassStatistics(files=list(files), counts=self.counts[found])

    @classmethod
    def joined(cls, statistics: Sequence[ClassStatistics]) -> ClassStatistics:
        """The statistics of several data sets as those of one, set after set.

        Files get the number of their set in front, since sets may have files of the same name.

        Raises:
            ValueError: There is none, or their numbers of classes differ.

        Example:
            >>> one = ClassStatistics(files=["a.png"], counts=np.array([[6, 2]]))
            >>> ClassStatistics.joined([one, one]).files
            ['0/a.png', '1/a.png']
        """
        numbers = {one.num_classes for one in statistics}
        if len(numbers) != 1:
            raise ValueError(
                f"class statistics of {sorted(numbers)} classes cannot be joined; give all data "
                "sets the same classes"
            )
        files = [f"{number}/{file}" for number, one in enumerate(statistics) for file in one.files]
        return cls(files=files, counts=np.concatenate([one.counts for one in statistics]))

    @classmethod
    def load(
        cls, path: str | Path, num_classes: int, *, drop_unknown: bool = False
    ) -> ClassStatistics:
        """Statistics read from ``class_statistics.json`` or from one of the older files.

        Understood besides our own format, plain or gzip: ``sample_class_stats.json`` (a list of
        ``{class: pixels, ..., "file": path}``), ``sample_class_stats_dict.json``
        (``{file: {class: pixels}}``) and ``samples_with_class.json`` (``{class: [[file, pixels],
        ...]}``). From older files the folder that all paths have in common is cut off; an integer
        in place of a path becomes its decimal digits.

        Args:
            path: The file.
            num_classes: K, the number of classes of the data set it is used for.
            drop_unknown: Older formats only: leave out class ids outside 0..K-1 (for example 19,
                void in some data sets) instead of refusing them. 255 is always left out.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The content is no valid statistics of K classes; the message names the file.
        """
        files, counts = read_statistics(Path(path), num_classes, drop_unknown=drop_unknown)
        return cls(files=files, counts=counts)

    def save(self, path: str | Path) -> None:
        """Write ``class_statistics.json``: one line an image, complete or not at all."""
        rows = [
            json.dumps([file, row])
            for file, row in zip(self.files, self.counts.tolist(), strict=True)
        ]
        head = f'{{"version": {FORMAT_VERSION}, "num_classes": {self.num_classes}, "images": [\n'
        write_atomically(path, (head + ",\n".join(rows) + "\n]}\n").encode("ascii"))


def count_label(array: NDArray[np.integer], num_classes: int) -> NDArray[np.int64]:
    """Pixels of each class in one label map, int64 (K,); 255 is not counted.

    Args:
        array: Train ids (H, W), any integer type.
        num_classes: K.

    Raises:
        ValueError: The array is not (H, W) of integers, or holds an id outside 0..K-1 and 255.

    Example:
        >>> count_label(np.array([[0, 2, 2], [255, 2, 0]], dtype=np.uint8), 3).tolist()
        [2, 0, 3]
    """
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"a label map must be an integer array (H, W), got {array.dtype} of shape {array.shape}"
        )
    if array.size and array.min() < 0:
        raise ValueError(f"a label map holds the negative id {array.min()}")
    pixels = np.bincount(array.ravel(), minlength=max(num_classes, IGNORE_INDEX + 1))
    unknown = np.flatnonzero(pixels[num_classes:]) + num_classes
    unknown = unknown[unknown != IGNORE_INDEX]
    if len(unknown):
        raise ValueError(
            f"label id {unknown[0]} ({pixels[unknown[0]]} pixels) is outside 0..{num_classes - 1} "
            "and is not 255 (ignore); give a label map, or the right number of classes"
        )
    return pixels[:num_classes].astype(np.int64)


def count_folder(
    label_paths: Iterable[str | Path],
    *,
    num_classes: int,
    label_map: Mapping[int, int] | None = None,
    root: str | Path,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> ClassStatistics:
    """Statistics of label files, counted in parallel processes.

    Args:
        label_paths: Single-channel label files (palette PNGs are read as indices) below `root`.
        num_classes: K.
        label_map: ``{raw id: train id}``; None when the files hold train ids already.
        root: Label folder that the stored paths are relative to.
        workers: Processes; 1 counts in this one (see `uda.data.parallel.parallel_map`).
        progress: Called with the number of files done so far, after each file.

    Raises:
        FileNotFoundError: A label file is missing.
        ValueError: A file cannot be read as a label, holds an id outside the map or the classes, or
            lies outside `root`.
    """
    root = Path(root)
    paths = [Path(path) for path in label_paths]
    files = [_relative_posix(path, root) for path in paths]
    count = partial(_count_file, num_classes=num_classes, label_map=label_map)
    counts = np.zeros((len(paths), num_classes), dtype=np.int64)
    for row, result in enumerate(parallel_map(count, paths, workers=workers)):
        counts[row] = result
        if progress is not None:
            progress(row + 1)
    return ClassStatistics(files=files, counts=counts)


def apply_label_map(
    raw: NDArray[np.integer], label_map: Mapping[int, int], *, unknown_to_ignore: bool = False
) -> NDArray[np.uint8]:
    """Train ids (H, W) uint8 of raw ids by a table; 255 stays 255 unless the table says otherwise.

    Args:
        raw: Raw ids (H, W), 0..65535.
        label_map: ``{raw id: train id}``, train ids 0..255.
        unknown_to_ignore: Map ids outside the table to 255 (the reference's "all else 255") instead
            of refusing them.

    Raises:
        ValueError: An id is outside the table, or outside 0..65535.

    Example:
        >>> apply_label_map(np.array([[7, 26]]), {7: 0, 26: 13}).tolist()
        [[0, 13]]
    """
    if raw.size and not 0 <= int(raw.min()) <= int(raw.max()) <= 65535:
        raise ValueError(f"label ids {raw.min()}..{raw.max()} are outside 0..65535")
    size = max(int(raw.max(initial=0)), IGNORE_INDEX) + 1
    table, known = look_up_table({IGNORE_INDEX: IGNORE_INDEX, **label_map}, size)
    if not unknown_to_ignore:
        pixels = np.bincount(raw.ravel(), minlength=size)
        unknown = np.flatnonzero((pixels > 0) & ~known)
        if len(unknown):
            raise ValueError(
                f"label id {unknown[0]} ({pixels[unknown[0]]} pixels) is not in the label map "
                f"{sorted(label_map)}; add it (to 255 if it is to be ignored)"
            )
    return np.asarray(table[raw])


def _count_file(
    path: Path, *, num_classes: int, label_map: Mapping[int, int] | None
) -> NDArray[np.int64]:
    raw = read_label(path)
    try:
        return count_label(
            raw if label_map is None else apply_label_map(raw, label_map), num_classes
        )
    except ValueError as error:
        raise ValueError(f"label file {path.absolute()}: {error}") from error


def _relative_posix(path: Path, root: Path) -> str:
    try:
        return path.relative_to(root).as_posix()
    except ValueError:
        raise ValueError(
            f"label file {path.absolute()} is not inside the label folder {root.absolute()}"
        ) from None
