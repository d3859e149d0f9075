"""What is said of a data set as a whole, once all its pairs are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from uda.data.check.findings import Finding, of_set
from uda.data.check.pairs import Pair, PairCheck
from uda.data.check.sizes import Size, crop_of, is_random, smallest
from uda.data.rare_class_sampling import RareClassSampling
from uda.data.source_statistics import stored_statistics
from uda.data.statistics import ClassStatistics

Checked = Sequence[tuple[Pair, PairCheck]]

_MOST = 0.5  # share of ignored pixels from which a label map is more likely wrong than strict
_SHOWN_IDS = 8


def judge_labels(name: str, checked: Checked, classes: Sequence[str]) -> list[Finding]:
    """Findings about the classes of a labelled set.

    Args:
        name: Of the set.
        checked: All its pairs.
        classes: Class names.
    """
    rows = [check.counts for _, check in checked if check.counts is not None]
    if not rows:
        return []
    findings = []
    pixels = np.stack(rows).sum(axis=0)
    ignored = sum(check.ignored for _, check in checked)
    total = ignored + int(pixels.sum())
    if total and ignored / total > _MOST:
        ids = sorted({number for _, check in checked for number in check.unnamed})
        detail = f"{ignored / total:.0%}"
        if ids:
            more = ", ..." if len(ids) > _SHOWN_IDS else ""
            detail += f", among them ids that have no name: {_joined(ids)}{more}"
        findings.append(of_set(name, "mostly ignored", detail))
    absent = [classes[k] for k in np.flatnonzero(pixels == 0).tolist()]
    if absent:
        findings.append(of_set(name, "class absent", ", ".join(absent)))
    return findings


def judge_sampling(
    name: str, sets: Sequence[Checked], classes: Sequence[str], sampling: RareClassSampling
) -> list[Finding]:
    """Findings about rare class sampling on these labels.

    Args:
        name: Of the source set, or of all of them.
        sets: All pairs of each set that is counted together with the others.
        classes: Class names.
        sampling: Settings of the config.
    """
    counted = [
        [(pair, check.counts) for pair, check in checked if check.counts is not None]
        for checked in sets
    ]
    counted = [pairs for pairs in counted if pairs]
    if not counted:
        return []
    # The images' names: labels may be shared by mistake, which is told elsewhere.
    statistics = [
        ClassStatistics(
            files=[pair.image for pair, _ in pairs], counts=np.stack([row for _, row in pairs])
        )
        for pairs in counted
    ]
    pairs = [one for pairs in counted for one in pairs]
    try:
        table = sampling.merged_table(statistics, classes)
    except ValueError as error:
        told, _, advice = str(error).removeprefix("rare class sampling: ").partition(". ")
        return [of_set(name, "class undrawable", told, advice=advice)]
    single = [
        (classes[int(k)], pairs[int(images[0])][0].image)
        for k, images in zip(table.classes, table.images, strict=True)
        if len(images) == 1
    ]
    if not single or len(pairs) == 1:
        return []
    names = ", ".join(class_name for class_name, _ in single)
    return [of_set(name, "class of one image", names, [image for _, image in single])]


def judge_statistics(name: str, checked: Checked, dataset: Any, path: str | None) -> list[Finding]:
    """A finding if training would read class statistics that are not of these labels.

    Args:
        name: Of the source set.
        checked: All its pairs, in the order of the data set, all of them readable.
        dataset: The data set.
        path: File that the config names for it, or None.
    """
    try:
        dataset.full_init()
        found = stored_statistics(dataset, path)
    except (OSError, ValueError):
        return []  # told elsewhere: training would stop there as well
    if found is None:
        return []
    statistics, place = found
    counts = [check.counts for _, check in checked]
    if any(row is None for row in counts) or len(counts) != len(statistics.files):
        return []
    wrong = (np.array(counts) != statistics.counts).any(axis=1)
    if not wrong.any():
        return []
    detail = f"{place} differs in {wrong.sum()} of {len(wrong)} labels"
    return [of_set(name, "stale statistics", detail, [str(place)])]


def judge_sizes(
    name: str, checked: Checked, pipeline: Sequence[Mapping[str, Any]], batch_size: int | None
) -> list[Finding]:
    """Findings about sizes of images: padding of crops, and batches of validation.

    Args:
        name: Of the set.
        checked: All its pairs.
        pipeline: Config of its transforms.
        batch_size: Of validation, whose images are not cropped; None in training.
    """
    sized = [(pair, check.size) for pair, check in checked if check.size is not None]
    crop = crop_of(pipeline)
    if crop is None:
        if batch_size is None or batch_size == 1:
            return []
        ends = {smallest(size, pipeline) for _, size in sized}
        known = sorted(size for size in ends if size is not None)
        if len(known) < 2:
            return []
        detail = f"{_text(known[0])} and {_text(known[-1])}"
        return [of_set(name, "batch of sizes", detail)]
    steps, wanted = crop
    padded: list[tuple[Size, str]] = []
    for pair, size in sized:
        least = smallest(size, steps)
        if least is not None and (least[0] < wanted[0] or least[1] < wanted[1]):
            padded.append((least, pair.image))
    if not padded:
        return []
    chance = ", at the smallest random scale" if is_random(steps) else ""
    detail = f"down to {_text(min(padded)[0])} for a crop of {_text(wanted)}{chance}"
    return [of_set(name, "padded", detail, [image for _, image in padded])]


def _joined(ids: Sequence[int]) -> str:
    return ", ".join(str(number) for number in ids[:_SHOWN_IDS])


def _text(size: Size) -> str:
    """Width x height, as viewers show it."""
    return f"{size[1]}x{size[0]}"
