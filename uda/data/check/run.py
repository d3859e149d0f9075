"""The check of a config's data sets: folders, then every file in parallel, then the wholes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from uda.data.check.cache import judge_cache
from uda.data.check.findings import Finding, Looked, Report, of_files, of_set
from uda.data.check.judge import judge_labels, judge_sampling, judge_sizes, judge_statistics
from uda.data.check.pairs import Pair, PairCheck, check_pair
from uda.data.check.sets import OpenedSet, SetToCheck, merge_equal, open_set
from uda.data.parallel import parallel_map
from uda.data.rare_class_sampling import RareClassSampling

_SECONDS_A_PICTURE = 0.1  # of the progress bar


def check_sets(
    sets: Sequence[SetToCheck],
    *,
    sampling: RareClassSampling | None = None,
    workers: int = 1,
    limit: int | None = None,
    cache: Path | None = None,
    console: Console | None = None,
) -> Report:
    """Everything that would stop or spoil a run on these data sets.

    Every file is read whole, by the functions that training uses; nothing stops at the first.

    Args:
        sets: The data sets of a config.
        sampling: Rare class sampling of the source.
        workers: Processes (see `uda.data.parallel.parallel_map`).
        limit: Read at most so many images of each set, spread over it; what only all labels can
            tell (absent classes, sampling) is left out then.
        cache: Folder of caches that training reads; None: it reads none.
        console: Where the progress bar goes; standard error by default.

    Raises:
        ValueError: The config of a data set is wrong, or a number is out of range.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    opened = [_opened(one) for one in merge_equal(sets)]
    chosen = [_spread(one.pairs, limit) for one in opened]
    results = _checked([pair for pairs in chosen for pair in pairs], workers, console)
    report = Report(limit=limit)
    sources = _Sources(sampling, [one for one in opened if one.asked.role == "source"])
    for one, pairs in zip(opened, chosen, strict=True):
        checked = [(pair, next(results)) for pair in pairs]
        report.looked.append(_looked(one, checked))
        report.findings += _findings(one, checked, sources)
        if one.asked.role in ("source", "target"):
            known = [_info(pair) for pair in pairs]
            report.findings += judge_cache(one.asked.name, one.dataset, cache, known, workers)
    next(results, None)  # take the bar away
    report.findings += sources.findings()
    report.sort()
    return report


class _Sources:
    """The source sets, whose class statistics may be merged, and what is said of them together.

    Args:
        sampling: Rare class sampling of the config, or None.
        opened: The source sets.
    """

    def __init__(self, sampling: RareClassSampling | None, opened: list[OpenedSet]) -> None:
        self.sampling, self.opened = sampling, opened
        self.merged = sampling is not None and sampling.over == "all" and len(opened) > 1
        self.whole: list[Sequence[tuple[Pair, PairCheck]]] = []

    def findings_of(
        self, one: OpenedSet, checked: Sequence[tuple[Pair, PairCheck]]
    ) -> list[Finding]:
        """What is said of one source set, every file of which was read."""
        if self.sampling is None:
            return []
        name, found = one.asked.name, []
        self.whole.append(checked)
        if not self.merged:
            found += judge_sampling(name, [checked], one.classes, self.sampling)
        return found + judge_statistics(name, checked, one.dataset, self._path(one))

    def findings(self) -> list[Finding]:
        """What is said of all source sets together, if every file of each was read."""
        if self.sampling is None or not self.merged or len(self.whole) < len(self.opened):
            return []
        classes = self.opened[0].classes
        return judge_sampling("all sources", self.whole, classes, self.sampling)

    def _path(self, one: OpenedSet) -> str | None:
        paths = None if self.sampling is None else self.sampling.statistics
        if paths is None or isinstance(paths, str):
            return paths
        number = self.opened.index(one)
        return paths[number] if number < len(paths) else None


def _info(pair: Pair) -> dict[str, Any]:
    """What the data set knows of an image and the cache goes by."""
    return {"img_path": pair.image, "seg_map_path": pair.label or ""}


def _opened(asked: SetToCheck) -> OpenedSet:
    try:
        return open_set(asked)
    except Exception as error:  # whatever constructors of data sets and transforms raise
        raise ValueError(f"the config of the data set '{asked.name}' is wrong: {error}") from error


def _spread(pairs: list[Pair], limit: int | None) -> list[Pair]:
    if limit is None or len(pairs) <= limit:
        return pairs
    return [pairs[i * len(pairs) // limit] for i in range(limit)]


def _checked(pairs: Sequence[Pair], workers: int, console: Console | None) -> Iterator[PairCheck]:
    console = console or Console(stderr=True)
    columns = (TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Drawn from here and not from a thread: in between, standard error is turned aside.
    bar = Progress(
        *columns,
        console=console,
        transient=True,
        auto_refresh=False,
        disable=not console.is_terminal,
    )
    drawn = 0.0
    with bar:
        task = bar.add_task("images", total=len(pairs))
        for result in parallel_map(check_pair, pairs, workers=workers):
            bar.advance(task)
            if time.monotonic() - drawn > _SECONDS_A_PICTURE:
                bar.refresh()
                drawn = time.monotonic()
            yield result


def _looked(one: OpenedSet, checked: Sequence[tuple[Pair, PairCheck]]) -> Looked:
    counts = [check.counts for _, check in checked if check.counts is not None]
    totals = sum(counts[1:], counts[0]).tolist() if counts else []
    return Looked(
        dataset=one.asked.name,
        images=one.images,
        labels=sum(pair.label is not None for pair in one.pairs),
        checked=len(checked),
        sizes=Counter(check.size for _, check in checked if check.size is not None),
        classes=dict(zip(one.classes, totals, strict=True)) if totals else {},
    )


def _findings(
    one: OpenedSet,
    checked: Sequence[tuple[Pair, PairCheck]],
    sources: _Sources,
) -> list[Finding]:
    name, config = one.asked.name, one.asked.config
    findings = list(one.findings)
    findings += of_files(name, (o for _, check in checked for o in check.observations))
    if one.images == 1:
        findings.append(of_set(name, "one image"))
    batch_size = one.asked.batch_size if one.asked.role == "validation" else None
    findings += judge_sizes(name, checked, config.get("pipeline") or (), batch_size)
    if not checked or len(checked) < len(one.pairs):
        return findings  # the rest would be told of nothing, or of a part
    findings += judge_labels(name, checked, one.classes)
    if one.asked.role == "source":
        findings += sources.findings_of(one, checked)
    return findings
