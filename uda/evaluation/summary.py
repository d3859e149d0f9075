"""Results over seeds: many `metrics.json` files to one table of means and spreads."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunSummary:
    """One metric of one network over the seeds of an experiment.

    Attributes:
        experiment: Name of the experiment, `context["experiment"]` of the files.
        dataset: Data it was evaluated on; empty when the files do not say.
        network: "student" or "teacher".
        metric: For example "mIoU" or "mIoU16".
        values: Percent by seed, seeds ascending.
    """

    experiment: str
    dataset: str
    network: str
    metric: str
    values: dict[int, float]

    @property
    def mean(self) -> float:
        """Return the mean over seeds in percent."""
        return statistics.fmean(self.values.values())

    @property
    def std(self) -> float | None:
        """Return the sample standard deviation (n - 1) in percent; None for a single seed."""
        values = list(self.values.values())
        return statistics.stdev(values) if len(values) > 1 else None


def summarise_runs(
    paths: Iterable[str | Path], *, metrics: Sequence[str] = ("mIoU",)
) -> list[RunSummary]:
    """Return one row per experiment, data set, network and metric, in the order they appear.

    Args:
        paths: Files written by `write_metrics`, with `experiment` and `seed` in their context.
        metrics: Which scores of each network to take, for example ("mIoU", "mIoU16").

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is no report, lacks `experiment`, `seed` or a metric, or two files hold
            the same seed of the same experiment.
    """
    gathered: dict[tuple[str, str, str, str], dict[int, float]] = {}
    origin: dict[tuple[str, str, str, str, int], Path] = {}
    for path in map(Path, paths):
        report = _read(path)
        experiment, dataset, seed = _identity(report["context"], path)
        for network, scores in report["networks"].items():
            for metric in metrics:
                row = (experiment, dataset, network, metric)
                first = origin.setdefault((*row, seed), path)
                if first is not path:
                    raise ValueError(
                        f"{first} and {path} both hold seed {seed} of experiment {experiment!r} "
                        f"({network}); give each file once, or name the experiments differently"
                    )
                gathered.setdefault(row, {})[seed] = _score(scores, metric, network, path)
    return [RunSummary(*row, dict(sorted(values.items()))) for row, values in gathered.items()]


def markdown_table(rows: Sequence[RunSummary]) -> str:
    """Return the rows as a Markdown table: a column per seed, then mean and standard deviation.

    >>> rows = [RunSummary("daformer", "", "student", "mIoU", {0: 50.0, 1: 52.0})]
    >>> print(markdown_table(rows))
    | experiment | network | metric | seed 0 | seed 1 | mean | std |
    | --- | --- | --- | ---: | ---: | ---: | ---: |
    | daformer | student | mIoU | 50.00 | 52.00 | 51.00 | 1.41 |
    """
    seeds = sorted({seed for row in rows for seed in row.values})
    with_dataset = any(row.dataset for row in rows)
    words = ["experiment", *(["data"] if with_dataset else []), "network", "metric"]
    numbers = [*(f"seed {seed}" for seed in seeds), "mean", "std"]
    lines = [_line(words + numbers), _line(["---"] * len(words) + ["---:"] * len(numbers))]
    for row in rows:
        cells = [row.experiment, *([row.dataset] if with_dataset else []), row.network, row.metric]
        values = [*(row.values.get(seed) for seed in seeds), row.mean, row.std]
        lines.append(_line(cells + ["-" if v is None else f"{v:.2f}" for v in values]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _read(path: Path) -> dict[str, Any]:
    """Return a report, or say that the file is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no metrics file {path.absolute()}; tools/test.py --out writes it")
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON ({error}); write it again") from error
    if not isinstance(report, dict) or not {"context", "networks"} <= report.keys():
        raise ValueError(
            f"{path} has no 'context' and 'networks'; it was not written by tools/test.py --out"
        )
    return report


def _identity(context: dict[str, Any], path: Path) -> tuple[str, str, int]:
    """Return experiment, data set and seed of a report."""
    missing = [key for key in ("experiment", "seed") if context.get(key) is None]
    if missing:
        raise ValueError(
            f"the context of {path} lacks {' and '.join(missing)}; runs are grouped by experiment "
            "and compared over seeds"
        )
    return str(context["experiment"]), str(context.get("dataset") or ""), int(context["seed"])


def _score(scores: dict[str, Any], metric: str, network: str, path: Path) -> float:
    """Return one score of a network."""
    value = scores.get(metric)
    if not isinstance(value, (int, float)):
        known = ", ".join(key for key, score in scores.items() if isinstance(score, (int, float)))
        raise ValueError(f"{path} has no {metric!r} for the {network}; it has {known}")
    return float(value)
