"""The table of scores without labels that an evaluation prints."""

from __future__ import annotations

from collections.abc import Mapping

import rich.box
import rich.table

from uda.evaluation.label_free.scores import SCORES
from uda.evaluation.table import as_text


def score_table(scores: Mapping[str, float]) -> str:
    """Return a text table: a row per score, a column per network, and which direction is better.

    Args:
        scores: By network and score, such as "student/entropy".

    >>> print(score_table({"student/entropy": 0.25}))
     score       | student | better
    -------------+---------+--------
     entropy     |  0.2500 | lower
    """
    table = rich.table.Table(box=rich.box.ASCII2, show_edge=False)
    networks = list(dict.fromkeys(name.partition("/")[0] for name in scores))
    table.add_column("score", no_wrap=True, min_width=11)
    for network in networks:
        table.add_column(network, justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    for name, score in SCORES.items():
        found = [scores.get(f"{network}/{name}") for network in networks]
        if any(value is not None for value in found):
            cells = ["-" if value is None else f"{value:.4f}" for value in found]
            table.add_row(name, *cells, score.better)
    return as_text(table)
