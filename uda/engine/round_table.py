"""What came of each round: scores of its last validation, and which pixels had a label."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from uda.data.pseudo_labels import MANIFEST, Manifest

_SCORES = "*/vis_data/scalars.json"


@dataclass(frozen=True)
class RoundResult:
    """One round.

    Attributes:
        number: Counted from 1.
        classes: Class names.
        kept: Share of all target pixels that had a label, in [0, 1].
        kept_shares: Share of the pixels predicted as each class that were kept, in [0, 1].
        scores: mIoU in percent of each network at the last validation; empty without one.
    """

    number: int
    classes: list[str]
    kept: float
    kept_shares: list[float]
    scores: dict[str, float] = field(default_factory=dict)


def round_results(folder: str | Path) -> list[RoundResult]:
    """The rounds in a work folder of `run_rounds` whose labels are finished, in order.

    Args:
        folder: With `round_1`, `round_2` and so on.
    """
    found = []
    number = 1
    while (labels := Path(folder) / f"round_{number}" / "labels").joinpath(MANIFEST).is_file():
        manifest = Manifest.read(labels)
        shares = manifest.kept_shares().tolist()
        scores = last_scores(labels.parent)
        found.append(RoundResult(number, manifest.classes, manifest.kept_share(), shares, scores))
        number += 1
    return found


def last_scores(run: Path) -> dict[str, float]:
    """The mIoU of each network at the last validation that a run's log has.

    Args:
        run: The run's folder.
    """
    scores: dict[str, float] = {}
    for file in sorted(run.glob(_SCORES)):
        for line in file.read_text(encoding="utf-8").splitlines():
            entries = _entries(line)
            scores.update({k.split("/")[0]: v for k, v in entries.items() if k.endswith("/mIoU")})
    return scores


def round_lines(results: list[RoundResult]) -> list[str]:
    """A Markdown table: a row for scores, one for all pixels, one for each class; a column a round.

    Args:
        results: From `round_results`; at least one.
    """
    head = "| | " + " | ".join(f"round {result.number}" for result in results) + " |"
    lines = [head, "| --- |" + " ---: |" * len(results)]
    for network in sorted({name for result in results for name in result.scores}):
        cells = [_number(result.scores.get(network)) for result in results]
        lines.append(f"| mIoU of the {network}, % | " + " | ".join(cells) + " |")
    lines.append("| pixels with a label, % | " + _row(100 * r.kept for r in results))
    for index, name in enumerate(results[0].classes):
        row = _row(100 * result.kept_shares[index] for result in results)
        lines.append(f"| of those predicted as {name}, % | {row}")
    return lines


def _row(values: Iterable[float]) -> str:
    return " | ".join(f"{value:.1f}" for value in values) + " |"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _entries(line: str) -> dict[str, float]:
    """A line of the log; a line that a kill cut off says nothing."""
    try:
        found: dict[str, float] = json.loads(line)
    except ValueError:
        return {}
    return found
