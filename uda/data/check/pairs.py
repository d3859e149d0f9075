"""What is checked of an image and its label together; the work of one step, in any process."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from uda.data.check.files import Observation, check_image, check_label
from uda.data.class_tables import IGNORE_INDEX
from uda.data.labels import LabelFileError, LabelItems, train_ids

_HIGHEST = 65535  # a raw id that no table has; those beyond are taken for it


@dataclass(frozen=True)
class Reading:
    """How labels of a set are read.

    Attributes:
        items: Label map (see `uda.data.labels.label_table`).
        num_classes: K; 0 leaves the ids of a data set of another library unchecked.
        unmapped: ``"error"`` or ``"ignore"``.
    """

    items: LabelItems | None
    num_classes: int
    unmapped: str


@dataclass(frozen=True)
class Pair:
    """Full paths of an image and its label, and how that is read; None: there is no label."""

    image: str
    label: str | None
    reading: Reading


@dataclass(frozen=True)
class PairCheck:
    """What came of one pair.

    Attributes:
        observations: What there is to say.
        size: Height and width of the image; None when it cannot be read.
        counts: int64 (K,) pixels of each class; None when there is no readable label.
        ignored: Pixels of the label that count for nothing.
        unnamed: Ids that ``unmapped="ignore"`` makes 255.
    """

    observations: list[Observation] = field(default_factory=list)
    size: tuple[int, int] | None = None
    counts: NDArray[np.int64] | None = None
    ignored: int = 0
    unnamed: tuple[int, ...] = ()


def check_pair(pair: Pair) -> PairCheck:
    """Everything there is to say about an image and its label; raises nothing."""
    try:
        return _checked(pair)
    except Exception as error:  # one odd file must not end the check of all others
        told = f"{type(error).__name__}: {error}"
        return PairCheck([Observation("unexpected", pair.image, told=told)])


def _checked(pair: Pair) -> PairCheck:
    size, observations = check_image(pair.image)
    if pair.label is None:
        return PairCheck(observations, size)
    raw, of_label = check_label(pair.label)
    observations = observations + of_label
    if raw is None:
        return PairCheck(observations, size)
    if size is not None and raw.shape != size:
        observations.append(Observation("label size", pair.label))
    reading = pair.reading
    if not reading.num_classes:
        return PairCheck(observations, size)
    unnamed: tuple[int, ...] = ()
    try:
        _train_ids(raw, pair.label, reading, "error")
    except LabelFileError as error:
        if reading.unmapped == "error":
            observations.append(Observation("label ids", pair.label, error.ids))
        unnamed = error.ids
    if raw.dtype != np.uint8:
        raw = np.where((raw < 0) | (raw > _HIGHEST), _HIGHEST, raw)
    label = _train_ids(raw, pair.label, reading, "ignore")
    pixels = np.bincount(label.ravel(), minlength=IGNORE_INDEX + 1)
    counts = pixels[: reading.num_classes].astype(np.int64)
    if not counts.any():
        observations.append(Observation("label void", pair.label))
    return PairCheck(observations, size, counts, int(label.size - counts.sum()), unnamed)


def _train_ids(
    raw: NDArray[np.integer], path: str, reading: Reading, unmapped: str
) -> NDArray[np.uint8]:
    return train_ids(
        raw, path=path, items=reading.items, num_classes=reading.num_classes, unmapped=unmapped
    )
