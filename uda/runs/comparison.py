"""Two runs side by side: every difference, the likeliest cause first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uda.runs.logs import RunLog, read_log
from uda.runs.record import first_facts, read_record
from uda.runs.values import ABSENT, unequal

# The order of causes, then what they led to.
KINDS = (
    *("setting", "version", "hardware", "data", "weights", "git", "restart"),
    *("log", "score", "end"),
)
_SETTINGS = "config.settings."
_KIND_OF = {
    "versions": "version",
    "system": "version",
    "hardware": "hardware",
    "data": "data",
    "weights": "weights",
    "git": "git",
}
# The file's name means nothing, the digest follows from the settings, and the rest of these stand
# at the top of the record already, as the run used them.
_NOT_COMPARED = {
    "config.file",
    "config.digest",
    "config.settings.launcher",
    "config.settings.randomness.deterministic",
    "config.settings.randomness.seed",
}


@dataclass(frozen=True)
class Difference:
    """One thing in which two runs differ.

    Attributes:
        kind: One of `KINDS`.
        name: Dotted name of a fact, or name of a logged value.
        first: Value in the first run, or `ABSENT`.
        second: Value in the second run, or `ABSENT`.
        iterations: Of a logged value, in the first and in the second run.
    """

    kind: str
    name: str
    first: Any
    second: Any
    iterations: tuple[int, int] | None = None

    @property
    def relative(self) -> float | None:
        """The distance of two logged numbers over the larger of their sizes; else None."""
        if self.iterations is None or ABSENT in (self.first, self.second):
            return None
        return relative_difference(self.first, self.second)


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two runs.

    Attributes:
        differences: The likeliest cause first; none for equal runs.
        iterations: Iterations that both logged, of which all values were compared.
        scores: Validations that both made.
    """

    differences: list[Difference]
    iterations: int
    scores: int


def compare_runs(first: str | Path, second: str | Path) -> Comparison:
    """All differences between two run folders, to the last digit.

    Facts are compared as they were at the first start; a fact that a restart changed shows as
    kind `"restart"` unless the other run has the same changes. Of the losses only the first
    iteration is given at which any differs, and how far `loss` has come apart at the last one. A
    restart in itself is no difference, nor are time, memory, dates, folder and command line.

    Args:
        first: Folder of a run.
        second: Folder of another.

    Raises:
        FileNotFoundError: A folder is not there, or has no `run.json`.
        ValueError: A record or log is damaged.
    """
    records = [read_record(_folder(path)) for path in (first, second)]
    logs = [read_log(path, record) for path, record in zip((first, second), records, strict=True)]
    found = [
        *_fact_differences(*records),
        *_restart_differences(*records),
        *_log_differences(*logs),
        *_score_differences(*logs),
        *_end_differences(*records),
    ]
    found.sort(key=lambda difference: KINDS.index(difference.kind))  # stable
    return Comparison(
        found,
        iterations=len(logs[0].training.keys() & logs[1].training.keys()),
        scores=len(logs[0].scores.keys() & logs[1].scores.keys()),
    )


def relative_difference(first: float, second: float) -> float:
    """The distance of two numbers over the larger of their sizes, in [0, 2]; NaN equals NaN.

    >>> relative_difference(4.0, 3.0), relative_difference(0.0, 0.0)
    (0.25, 0.0)
    """
    if first == second or (math.isnan(first) and math.isnan(second)):
        return 0.0
    if not (math.isfinite(first) and math.isfinite(second)):
        return math.inf
    return abs(first - second) / max(abs(first), abs(second))


def _folder(path: str | Path) -> Path:
    folder = Path(path).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no run folder {folder}.")
    return folder


def _fact_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    return [
        Difference(_kind(name), name.removeprefix(_SETTINGS), a, b)
        for name, a, b in unequal(first_facts(first), first_facts(second))
        if name not in _NOT_COMPARED
    ]


def _kind(name: str) -> str:
    return _KIND_OF.get(name.partition(".")[0], "setting")


def _restart_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    return [
        Difference("restart", name.removeprefix(_SETTINGS), a, b)
        for name, a, b in unequal(_changes(first), _changes(second))
        if name not in _NOT_COMPARED
    ]


def _changes(record: Mapping[str, Any]) -> dict[str, str]:
    """What restarts changed, by name, each as "iteration 3: 1 -> 2"."""
    found: dict[str, list[str]] = {}
    for session in record["sessions"]:
        for change in session["changes"]:
            told = f"iteration {session['from_iteration']}: {change['before']} -> {change['after']}"
            found.setdefault(change["name"], []).append(told)
    return {name: "; ".join(changes) for name, changes in found.items()}


def _log_differences(first: RunLog, second: RunLog) -> list[Difference]:
    a, b = first.training, second.training
    common = sorted(a.keys() & b.keys())
    found = []
    if a.keys() != b.keys():
        found.append(Difference("log", "logged iterations", _told(a), _told(b)))
    apart = next((step for step in common if unequal(a[step], b[step])), None)
    if apart is None:
        return found
    names = sorted(unequal(a[apart], b[apart]), key=lambda item: item[0] != "loss")
    rows = [Difference("log", *item, (apart, apart)) for item in names]
    last = common[-1]
    if last > apart:
        ends = [item for item in unequal(a[last], b[last]) if item[0] == "loss"]
        rows += [Difference("log", *item, (last, last)) for item in ends]
    return rows + found


def _told(log: Mapping[int, Any]) -> str:
    return f"{len(log)}, the last {max(log)}" if log else "none"


def _score_differences(first: RunLog, second: RunLog) -> list[Difference]:
    a, b = first.scores, second.scores
    found = []
    if a.keys() != b.keys():
        found.append(Difference("score", "validations", _told(a), _told(b)))
    if not a or not b:
        return found
    common = sorted(a.keys() & b.keys())
    apart = [(step, step) for step in common if unequal(a[step], b[step])]
    # What counts is the end of each; where it is equal, the first validation that is not.
    for at in [(max(a), max(b)), *apart[:1]]:
        rows = [Difference("score", *item, at) for item in unequal(a[at[0]], b[at[1]])]
        if rows:
            return rows + found
    return found


def _end_differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    return [Difference("end", *item) for item in unequal(_end(first), _end(second))]


def _end(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: record["sessions"][-1][key] for key in ("outcome", "last_iteration")}
