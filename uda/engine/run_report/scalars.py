"""What kind of thing a logged number is, by its name, so that hooks may log what they like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from uda.reports.charts import Point

Kind = Literal["loss", "rate", "time", "memory", "accuracy", "health", "other"]
POINTS = 240  # of a line; more cannot be told apart on a page
# Passes of the methods: what they log is a loss, unless its name is one of the figures below.
_PASSES = re.compile(r"source|mixed|target|windows|feature_\w+|masked\w*|discriminator\w*")
_HEALTH = re.compile(
    r"pseudo|kept|confiden|entrop|agree|threshold|share|weight|largest|alarm|quality|histogram|"
    r"health|collapse|diversity|calibration|teacher"
)
# Names of terms, which would else be taken for figures.
_TERMS = re.compile(r"ce|loss|.*_loss|entropy|\w+_contrast|\w*distance|\w*distillation|adversarial")


def kind_of(name: str) -> Kind:
    """What a logged number is.

    >>> [kind_of(n) for n in ("loss", "mixed/ce", "source/accuracy", "mixed/confidence", "base_lr")]
    ['loss', 'loss', 'accuracy', 'health', 'rate']
    >>> [kind_of(n) for n in ("time", "memory", "pseudo/kept.road", "target/entropy", "grad_norm")]
    ['time', 'memory', 'health', 'loss', 'other']
    """
    first, _, rest = name.partition("/")
    last = name.rsplit("/", 1)[-1]
    if first in ("time", "data_time") or first.startswith("time"):
        return "time"
    if first.startswith("memory"):
        return "memory"
    if first == "lr" or last == "lr" or last.endswith("_lr"):
        return "rate"
    if last.startswith("acc"):
        return "accuracy"
    in_pass = bool(rest) and any(_PASSES.fullmatch(part) for part in name.split("/")[:-1])
    if name == "loss" or (in_pass and _TERMS.fullmatch(last)) or last.endswith("loss"):
        return "loss"
    if "classes" in name.split("/") or _HEALTH.search(name):
        return "health"
    return "loss" if in_pass else "other"


def names_of(log: Mapping[int, Mapping[str, float]], kind: Kind) -> list[str]:
    """The names of a kind in the order in which they were first logged."""
    seen = dict.fromkeys(name for line in log.values() for name in line)
    return [name for name in seen if kind_of(name) == kind]


def series(log: Mapping[int, Mapping[str, float]], name: str) -> list[Point]:
    """The values of a name by iteration, as many as a chart can show."""
    return thinned([(step, line[name]) for step, line in sorted(log.items()) if name in line])


def thinned(points: Sequence[Point], limit: int = POINTS) -> list[Point]:
    """At most `limit` points; each the mean of as many neighbours, at the last one's place.

    >>> thinned([(1, 1.0), (2, 3.0), (3, 5.0)], limit=2)
    [(2, 2.0), (3, 5.0)]
    """
    size = -(-len(points) // limit)
    if size <= 1:
        return list(points)
    found: list[Point] = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        known = [value for _, value in part if value is not None]
        found.append((part[-1][0], sum(known) / len(known) if known else None))
    return found


def by_class(
    names: Iterable[str], classes: Sequence[str]
) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Names of single figures, and those logged once for each class.

    Args:
        names: Logged names; one of a class ends in its name, after a dot or a slash.
        classes: Names of the classes.

    Returns:
        The names without a class, and for each other figure its logged name by class.

    >>> by_class(["a/kept", "a/kept.road", "a/kept.sky"], ["road", "sky"])
    (['a/kept'], {'a/kept': {'road': 'a/kept.road', 'sky': 'a/kept.sky'}})
    """
    plain = [name.replace("/", "-") for name in classes]  # as logged names have them
    single: list[str] = []
    found: dict[str, dict[str, str]] = {}
    for name in names:
        ending = next((k for k in plain if name.endswith((f".{k}", f"/{k}"))), None)
        if ending is None:
            single.append(name)
        else:
            found.setdefault(name[: -len(ending) - 1], {})[ending] = name
    return single, found
