"""The table of an evaluation for a terminal, in the colours of the data set."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

SCORE = "mIoU"
_MEANS = ("mAcc", "aAcc")


def score_table(
    scores: Mapping[str, float],
    before: Mapping[str, float],
    *,
    class_names: Sequence[str],
    palette: Sequence[Sequence[int]],
    title: str,
) -> Table:
    """IoU in percent: a row a class, a column a network with what changed since the last time.

    Args:
        scores: Of `SegmentationMetric`: "student/mIoU", "student/IoU.road", ...
        before: Scores of the evaluation before; empty at the first.
        class_names: Name of each class.
        palette: RGB colour of each class.
        title: Above the table.
    """
    networks = list(dict.fromkeys(name.split("/")[0] for name in scores if f"/{SCORE}" in name))
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("class", no_wrap=True)
    for network in networks:
        table.add_column(network, justify="right", no_wrap=True)
        table.add_column("change", justify="right", no_wrap=True)
    rows = [
        (Text.assemble(("██ ", "rgb({},{},{})".format(*colour)), name), f"IoU.{name}")
        for name, colour in zip(class_names, palette, strict=False)
    ]
    found = {name.partition("/")[2] for name in scores}
    means = [name for name in found if name.startswith(SCORE)]
    summary = [*sorted(means, key=lambda name: (len(name), name)), *_MEANS]
    for place, (head, key) in enumerate([*rows, *((Text(name), name) for name in summary)]):
        cells = [
            cell
            for network in networks
            for cell in _cells(scores.get(f"{network}/{key}"), before.get(f"{network}/{key}"))
        ]
        style = "bold" if key == SCORE else None
        table.add_row(head, *cells, style=style, end_section=place == len(rows) - 1)
    return table


def _cells(now: float | None, before: float | None) -> tuple[Text, Text]:
    """A score and its change; "-" where there is none."""
    if now is None or math.isnan(now):
        return Text("-"), Text("")
    if before is None or math.isnan(before):
        return Text(f"{now:.2f}"), Text("")
    change = now - before
    colour = "green" if change > 0 else "red" if change < 0 else "dim"
    return Text(f"{now:.2f}"), Text(f"{change:+.2f}", style=colour)
