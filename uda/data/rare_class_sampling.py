"""Rare class sampling (RCS): a class by its rarity, an image that shows it, a fitting crop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from uda.data.statistics import ClassStatistics

# What the reference's numbers refer to: 3000 pixels of a GTA5 image, 512x512 crops.
REFERENCE_MIN_PIXELS = 3000
REFERENCE_IMAGE_AREA = 1052 * 1914
REFERENCE_CROP_AREA = 512 * 512

T = TypeVar("T")


def class_frequencies(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each class in all labelled pixels, f_c (Hoyer et al., CVPR 2022).

    Args:
        counts: int64 (images, K), pixels per image and class.

    Returns:
        float64 (K,), sums to 1; 0 for classes that do not occur.

    Raises:
        ValueError: There is no labelled pixel at all.

    Example:
        >>> class_frequencies(np.array([[3, 0, 1], [3, 0, 1]])).tolist()
        [0.75, 0.0, 0.25]
    """
    pixels = np.asarray(counts).sum(axis=0)
    if pixels.sum() <= 0:
        raise ValueError("rare class sampling: the statistics hold no labelled pixel")
    return np.asarray(pixels / pixels.sum(), dtype=np.float64)


def class_probabilities(
    frequencies: NDArray[np.float64], temperature: float
) -> NDArray[np.float64]:
    """Probability of drawing each class, softmax((1 - f_c) / T) over the classes that occur.

    Hoyer et al., CVPR 2022; the released code does the same in float32.

    Args:
        frequencies: float (K,), shares of pixels; 0 = the class does not occur.
        temperature: T > 0; smaller is stronger, infinity draws all classes alike.

    Returns:
        float64 (K,), sums to 1; 0 for classes that do not occur.

    Raises:
        ValueError: The temperature is not positive, or no class occurs.

    Example:
        >>> class_probabilities(np.array([0.75, 0.0, 0.25]), float("inf")).tolist()
        [0.5, 0.0, 0.5]
    """
    if not temperature > 0:
        raise ValueError(f"rare class sampling: temperature must be above 0, got {temperature}")
    present = np.asarray(frequencies) > 0
    if not present.any():
        raise ValueError("rare class sampling: no class occurs in the statistics")
    scores = (1.0 - np.asarray(frequencies, dtype=np.float64)) / temperature
    scores = np.where(present, scores - scores[present].max(), -np.inf)
    weights = np.exp(scores)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def fetch_until(fetch: Callable[[], T], enough: Callable[[T], bool], retries: int) -> tuple[T, int]:
    """The first fetched thing that is good enough, or the last of ``1 + retries`` unchecked.

    Returns:
        The thing, and the number of fetches.

    Example:
        >>> numbers = iter([1, 2, 3, 4])
        >>> fetch_until(lambda: next(numbers), lambda n: n > 2, retries=10)
        (3, 3)
    """
    thing = fetch()
    for fetches in range(1, retries + 1):
        if enough(thing):
            return thing, fetches
        thing = fetch()
    return thing, retries + 1


@dataclass(frozen=True, eq=False)
class RareClassTable:
    """Settings applied to one data set: what `draw` needs.

    Attributes:
        classes: int (n,), class ids that can be drawn, rarest first.
        probabilities: float64 (n,), in the same order.
        images: For each class the indices of its images, ascending.
        min_pixels: An image qualifies with more than this many pixels of the class; of several data
            sets, the smallest of their numbers.
        crop_pixels: A crop of a given area qualifies with more than ``crop_pixels(area)`` of them.
    """

    classes: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    images: tuple[NDArray[np.int64], ...]
    min_pixels: int
    crop_pixels: Callable[[int], float]

    def draw(self, generator: Any) -> tuple[int, int]:
        """A class id and the index of an image that has enough of it.

        Args:
            generator: A ``RandomState``, or the module ``numpy.random`` for the global one.
        """
        drawn = int(generator.choice(self.classes, p=self.probabilities))
        position = int(np.flatnonzero(self.classes == drawn)[0])
        return drawn, int(generator.choice(self.images[position]))


@dataclass(frozen=True, eq=False)
class TablesBySource:
    """A table for each of several data sets: first a set by its number of images, then its table.

    Attributes:
        tables: One a set.
        sizes: Number of images of each set.
    """

    tables: tuple[RareClassTable, ...]
    sizes: tuple[int, ...]

    @property
    def crop_pixels(self) -> Callable[[int], float]:
        """That of all tables, which have the same settings."""
        return self.tables[0].crop_pixels

    def draw(self, generator: Any) -> tuple[int, int]:
        """A class id and the index of an image, counted over all sets.

        Args:
            generator: See `RareClassTable.draw`.
        """
        shares = np.asarray(self.sizes) / sum(self.sizes)
        number = int(generator.choice(len(self.sizes), p=shares))
        class_id, image = self.tables[number].draw(generator)
        return class_id, image + sum(self.sizes[:number])


class RareClassSampling:
    """Settings of rare class sampling (Hoyer et al., CVPR 2022, section 3.3).

    A class is drawn by `class_probabilities`; an image uniformly from those with more than
    `min_pixels` pixels of it; its random crop is drawn again, at most `retries` times, until it
    shows more than ``min_crop_share * min_pixels`` pixels of the class (the last crop is kept
    unchecked). An integer `min_pixels` is absolute in both tests, as in the released code (3000 on
    GTA5 and 512x512 crops). ``"auto"`` keeps the meaning of that number at other sizes: for images
    it is scaled by their area over 1914x1052, the area being the median of labelled pixels an
    image; for crops by the crop's area over 512x512.

    Args:
        temperature: T; smaller draws rare classes more often.
        min_pixels: Pixels of the class, or ``"auto"``.
        min_crop_share: Share of `min_pixels` that the crop must show (HRDA and MIC: 2.0).
        retries: Further crops at most.
        statistics: File to read the counts from and to keep them in; None = beside the labels. Of
            several data sets a list, one file each.
        classes: Names or ids of the classes that may be drawn; None = all that occur.
        over: Where there are several source data sets: ``"all"`` counts them together and draws a
            class, then an image of any set; ``"each"`` draws a set in proportion to its number of
            images, then by the set's own counts (reference: VFM-UDA++, released code).

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> stats = ClassStatistics(files=["a", "b"], counts=np.array([[90, 10], [99, 0]]))
        >>> sampling = RareClassSampling(min_pixels=5)
        >>> sampling.table(stats, ["road", "pole"]).draw(np.random.RandomState(0))
        (1, 0)
    """

    def __init__(
        self,
        *,
        temperature: float = 0.01,
        min_pixels: int | Literal["auto"] = "auto",
        min_crop_share: float = 0.5,
        retries: int = 10,
        statistics: str | Sequence[str] | None = None,
        classes: Sequence[str | int] | None = None,
        over: Literal["all", "each"] = "all",
    ) -> None:
        if not temperature > 0:
            raise ValueError(f"rare class sampling: temperature must be above 0, got {temperature}")
        if isinstance(min_pixels, str) and min_pixels != "auto":
            raise ValueError(f"min_pixels must be a number or 'auto', got {min_pixels!r}")
        if not isinstance(min_pixels, str) and min_pixels < 0:
            raise ValueError(f"min_pixels must be at least 0 or 'auto', got {min_pixels}")
        if min_crop_share < 0 or retries < 0:
            raise ValueError(
                "rare class sampling: min_crop_share and retries must be at least 0, got "
                f"{min_crop_share} and {retries}"
            )
        self.temperature = float(temperature)
        self.min_pixels = min_pixels
        self.min_crop_share = float(min_crop_share)
        self.retries = int(retries)
        if over not in ("all", "each"):
            raise ValueError(f"rare class sampling: over has to be 'all' or 'each', got {over!r}")
        self.statistics, self.over = statistics, over
        self.classes = None if classes is None else list(classes)

    def image_pixels(self, statistics: ClassStatistics) -> int:
        """The image test's `min_pixels` for these images (see the class for ``"auto"``)."""
        if self.min_pixels != "auto":
            return int(self.min_pixels)
        area = float(np.median(statistics.counts.sum(axis=1)))
        return max(1, round(REFERENCE_MIN_PIXELS * area / REFERENCE_IMAGE_AREA))

    def crop_pixels(self, crop_area: int) -> float:
        """The crop test's pixels for a crop of `crop_area` pixels."""
        if self.min_pixels != "auto":
            return self.min_pixels * self.min_crop_share
        return REFERENCE_MIN_PIXELS * self.min_crop_share * crop_area / REFERENCE_CROP_AREA

    def tables(
        self, statistics: Sequence[ClassStatistics], names: Sequence[str]
    ) -> RareClassTable | TablesBySource:
        """What to draw from, for one or several data sets, as `over` says.

        With ``min_pixels="auto"`` each set has the number of its own size of images.

        Args:
            statistics: Counts of each set's images.
            names: Class names, K of them.

        Raises:
            ValueError: See `table`.
        """
        if self.over == "all" or len(statistics) == 1:
            return self.merged_table(statistics, names)
        sizes = tuple(len(one.files) for one in statistics)
        return TablesBySource(tuple(self.table(one, names) for one in statistics), sizes)

    def merged_table(
        self, statistics: Sequence[ClassStatistics], names: Sequence[str]
    ) -> RareClassTable:
        """What to draw from, for several data sets counted together; see `tables`."""
        if len(statistics) == 1:
            return self.table(statistics[0], names)
        thresholds = [self.image_pixels(one) for one in statistics]
        sizes = [len(one.files) for one in statistics]
        return self.table(
            ClassStatistics.joined(statistics), names, min_pixels=np.repeat(thresholds, sizes)
        )

    def table(
        self,
        statistics: ClassStatistics,
        names: Sequence[str],
        *,
        min_pixels: NDArray[np.int64] | None = None,
    ) -> RareClassTable:
        """What to draw from, for one data set.

        Args:
            statistics: Counts of the data set's images, in its order.
            names: Class names, K of them.
            min_pixels: Of each image, int (images,); None: that of the settings.

        Raises:
            ValueError: A class that can be drawn has no image with enough pixels, or `classes`
                names a class that does not exist or does not occur.
        """
        counts = statistics.counts
        if counts.shape[1] != len(names):
            raise ValueError(
                f"rare class sampling: statistics of {counts.shape[1]} classes for a data set of "
                f"{len(names)} classes; count it again with tools/prepare_data.py"
            )
        frequencies = class_frequencies(counts)
        if self.classes is not None:
            chosen = _class_ids(self.classes, names, frequencies)
            frequencies = np.where(np.isin(np.arange(len(names)), chosen), frequencies, 0.0)
        probabilities = class_probabilities(frequencies, self.temperature)
        # The order of the reference, rarest first, so that equal random numbers give equal classes.
        order = np.argsort(frequencies, kind="stable")
        order = order[frequencies[order] > 0]
        if min_pixels is None:
            min_pixels = np.full(len(counts), self.image_pixels(statistics))
        images = tuple(np.flatnonzero(counts[:, index] > min_pixels) for index in order)
        empty = [int(index) for index, found in zip(order, images, strict=True) if not len(found)]
        if empty:
            raise ValueError(_undrawable(empty, names, counts, int(min_pixels.min())))
        return RareClassTable(
            order, probabilities[order], images, int(min_pixels.min()), self.crop_pixels
        )


def _undrawable(
    ids: Sequence[int], names: Sequence[str], counts: NDArray[np.int64], min_pixels: int
) -> str:
    most = counts.max(axis=0)
    listed = ", or of class ".join(
        f"{k} ({names[k]}); the most in one image is {most[k]}" for k in ids
    )
    return (
        f"rare class sampling: no image has more than min_pixels={min_pixels} pixels of class "
        f"{listed}. Lower min_pixels below that, or list in classes only those to draw, without "
        f"{', '.join(repr(names[k]) for k in ids)}"
    )


def _class_ids(
    classes: Sequence[str | int], names: Sequence[str], frequencies: NDArray[np.float64]
) -> list[int]:
    ids = []
    for entry in classes:
        index = list(names).index(entry) if isinstance(entry, str) and entry in names else entry
        if not isinstance(index, int) or not 0 <= index < len(names):
            raise ValueError(
                f"rare class sampling: classes names {entry!r}; wanted an id 0..{len(names) - 1} "
                f"or one of {list(names)}"
            )
        if frequencies[index] <= 0:
            raise ValueError(
                f"rare class sampling: class {index} ({names[index]}) is listed in classes but no "
                "image has a pixel of it; remove it"
            )
        ids.append(index)
    return ids
