"""Which checkpoint each score chooses, how well it ranks all, and tables of both."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from uda.engine.checkpoint_scores import CheckpointScores
from uda.evaluation.label_free import SCORES, Choice, rank_choices

FORMAT = 1
# Rows beside those of scores: what anyone can do without a score.
LAST, CHANCE = "last checkpoint", "any checkpoint"


def choose(results: Sequence[CheckpointScores], network: str) -> dict[str, Choice]:
    """What each score chooses among checkpoints, by the score's name.

    What compares student and teacher ranks the teacher as well. A score that one of the checkpoints
    lacks, as one without a teacher does, is left out.

    Args:
        results: Of all checkpoints.
        network: The network to rank.

    Raises:
        ValueError: A checkpoint has no such network.
    """
    without = [r.checkpoint for r in results if f"{network}/entropy" not in r.scores]
    if without:
        raise ValueError(
            f"{without[0]} has no {network} to rank; it has: "
            f"{', '.join(networks_of(results[0])) or 'nothing'}. Choose another --network."
        )
    known = truth(results, network)
    choices = {}
    for name, score in SCORES.items():
        values = [result.scores.get(_key(name, network)) for result in results]
        held = [value for value in values if value is not None]
        if len(held) == len(results):
            choices[name] = rank_choices(held, score.better, known)
    return choices


def networks_of(result: CheckpointScores) -> list[str]:
    """The networks of a checkpoint that were scored."""
    return list(dict.fromkeys(name.partition("/")[0] for name in result.scores))


def _key(score: str, network: str) -> str:
    return f"{'student' if SCORES[score].of_pair else network}/{score}"


def truth(results: Sequence[CheckpointScores], network: str) -> list[float] | None:
    """True mIoU of each checkpoint in percent; None if labels were not read."""
    found = [result.miou[network] for result in results if network in result.miou]
    return found if found and len(found) == len(results) else None


def checkpoint_table(
    results: Sequence[CheckpointScores], choices: Mapping[str, Choice], network: str
) -> Table:
    """A row a checkpoint: its scores, each with its rank, and true mIoU where it is known."""
    table = Table(title=f"{network}: score (rank, 1 is best)")
    table.add_column("checkpoint", no_wrap=True)
    for name in choices:
        table.add_column(f"{name}\n({SCORES[name].better} is better)", justify="right")
    known = truth(results, network)
    if known is not None:
        table.add_column("true mIoU", justify="right")
    for row, label in enumerate(labels(results)):
        cells = [
            f"{results[row].scores[_key(name, network)]:.4f} ({choice.ranks[row]:g})"
            for name, choice in choices.items()
        ]
        table.add_row(label, *cells, *([] if known is None else [f"{known[row]:.2f}"]))
    return table


def choice_table(
    results: Sequence[CheckpointScores], choices: Mapping[str, Choice], network: str
) -> Table:
    """A row a score: what it chooses, and with true mIoU how good a choice and a ranking that is.

    Further rows say what the last checkpoint of a run gets, and any on average.
    """
    table = Table(title="what each score chooses")
    table.add_column("score", no_wrap=True)
    table.add_column("chosen", no_wrap=True)
    known, names = truth(results, network), labels(results)
    if known is not None:
        for head in ("Spearman", "Kendall", "its mIoU", "regret"):
            table.add_column(head, justify="right")
    for name, choice in choices.items():
        cells = []
        if known is not None:
            figures = (choice.spearman, choice.kendall)
            cells = ["-" if math.isnan(value) else f"{value:+.2f}" for value in figures]
            cells += [f"{known[choice.chosen]:.2f}", f"{choice.regret:.2f}"]
        table.add_row(name, names[choice.chosen], *cells)
    if known is not None:
        mean = sum(known) / len(known)
        last = [(LAST, names[-1], known[-1])] if len(_folders(results)) == 1 else []
        for head, name, value in (*last, (CHANCE, "-", mean)):
            table.add_row(head, name, "-", "-", f"{value:.2f}", f"{max(known) - value:.2f}")
    return table


def labels(results: Sequence[CheckpointScores]) -> list[str]:
    """Names of checkpoints that tell them apart: with as many folders as that takes."""
    parts = [result.checkpoint.parts for result in results]
    names: list[str] = []
    # A checkpoint that was named twice cannot be told apart.
    for depth in range(len(_folders(results)) > 1, max(map(len, parts), default=0)):
        names = ["/".join(one[-depth - 1 :]) for one in parts]
        if len(set(names)) == len(names):
            break
    return names


def _folders(results: Sequence[CheckpointScores]) -> set[Path]:
    return {result.checkpoint.parent for result in results}


def to_json(
    results: Sequence[CheckpointScores],
    choices: Mapping[str, Choice],
    *,
    network: str,
    images: str,
) -> str:
    """Everything as JSON; a number that does not exist is null.

    Args:
        results: Of all checkpoints.
        choices: From `choose`.
        network: The network that was ranked.
        images: Which images were scored.
    """
    content = {
        "format": FORMAT,
        "network": network,
        "images": images,
        "checkpoints": [
            {
                "checkpoint": str(result.checkpoint),
                "iteration": result.iteration,
                "scores": _plain(result.scores),
                "mIoU": _plain(result.miou),
            }
            for result in results
        ],
        "choices": {
            name: {
                "better": SCORES[name].better,
                "checkpoint": str(results[choice.chosen].checkpoint),
                **_plain(choice._asdict()),
            }
            for name, choice in choices.items()
        },
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in values.items()
    }
