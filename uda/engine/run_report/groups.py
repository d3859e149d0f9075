"""Runs that differ in nothing but the seed, with the mean and the spread of what they reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from uda.engine.run_report.reading import ReportedRun
from uda.runs.values import digest, unequal


class Spread(NamedTuple):
    """Values of several seeds.

    Attributes:
        mean: Their mean.
        deviation: Sample standard deviation (n - 1), None for a single value.
        values: Each.
    """

    mean: float
    deviation: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Group:
    """Runs of one method and its settings.

    Attributes:
        label: Short name on the page, different for each group.
        runs: At least one, by seed.
    """

    label: str
    runs: Sequence[ReportedRun]

    @property
    def first(self) -> ReportedRun:
        """The run that pictures are taken from."""
        return self.runs[0]

    def score(self, name: str) -> Spread | None:
        """A score of the last validation over the runs; None if no run has it."""
        return spread_of(run.last_scores.get(name) for run in self.runs)


def spread_of(values: Iterable[float | None]) -> Spread | None:
    """Mean and deviation of the values that are known; None if none is.

    >>> spread_of([1.0, None, 3.0]).mean
    2.0
    """
    known = tuple(value for value in values if value is not None)
    if not known:
        return None
    deviation = statistics.stdev(known) if len(known) > 1 else None
    return Spread(statistics.fmean(known), deviation, known)


def told(spread: Spread | None, digits: int = 1) -> str:
    """Mean and deviation as text.

    >>> told(Spread(50.0, 1.0, (49.0, 51.0))), told(Spread(50.0, None, (50.0,))), told(None)
    ('50.0 ± 1.0', '50.0', '–')
    """
    if spread is None:
        return "–"
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.{digits}f}"
    return f"{spread.mean:.{digits}f}{deviation}"


def grouped(runs: Sequence[ReportedRun]) -> list[Group]:
    """Runs by settings, in the order of the first of each; a run's seed is no setting.

    Args:
        runs: Any; one without known settings is a group of its own.
    """
    members: dict[str, list[ReportedRun]] = {}
    for run in runs:
        key = digest(_settings(run)) if run.settings else str(run.folder.resolve())
        members.setdefault(key, []).append(run)
    groups = [sorted(found, key=lambda run: run.seed or 0) for found in members.values()]
    labels = _labels([group[0] for group in groups])
    return [Group(label, group) for label, group in zip(labels, groups, strict=True)]


def _settings(run: ReportedRun) -> dict[str, Any]:
    left_out = ("randomness", "work_dir", "launcher", "experiment_name", "resume")
    return {name: value for name, value in run.settings.items() if name not in left_out}


def _labels(runs: Sequence[ReportedRun]) -> list[str]:
    """Names of the configs without their common beginning, and what else tells them apart."""
    names = _shortened([run.name for run in runs])
    labels = []
    for number, (name, run) in enumerate(zip(names, runs, strict=True)):
        same = [other for other in range(len(runs)) if other != number and names[other] == name]
        if not same:
            labels.append(name)
            continue
        labels.append(f"{name} ({_difference(run, runs[same[0]]) or run.folder.name})")
    # Where even that is not enough, a number.
    return [
        label if labels.count(label) == 1 else f"{label} {labels[: at + 1].count(label)}"
        for at, label in enumerate(labels)
    ]


def _difference(run: ReportedRun, other: ReportedRun) -> str:
    """The first setting in which two runs differ, as `name=value`."""
    found = unequal(_settings(other), _settings(run))
    plain = [(name, value) for name, _, value in found if not isinstance(value, Mapping | list)]
    return ", ".join(f"{name.split('.')[-1]}={value}" for name, value in plain[:1])


def _shortened(names: Sequence[str]) -> list[str]:
    """Names without the words, parted by "_", that all of them begin with.

    >>> _shortened(["city_daformer", "city_source_only"]), _shortened(["city_daformer"])
    (['daformer', 'source_only'], ['city_daformer'])
    """
    if len(set(names)) < 2:
        return list(names)
    words = [name.split("_") for name in names]
    common = 0
    while all(len(w) > common + 1 and w[common] == words[0][common] for w in words):
        common += 1
    return ["_".join(w[common:]) for w in words]
