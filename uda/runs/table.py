"""A comparison of two runs as people read it."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from uda.runs.comparison import Comparison, Difference
from uda.runs.values import Absent

_WIDTH = 60


def first_line(comparison: Comparison) -> str:
    """The first difference in a sentence, or that there is none and what was compared."""
    if not comparison.differences:
        if not comparison.iterations:
            return "The runs are equal in what their records say; no logged iteration to compare."
        return (
            f"The runs are equal to the last digit: facts, {comparison.iterations} logged "
            f"iterations, {comparison.scores} validations."
        )
    found = comparison.differences[0]
    at = "" if found.iterations is None else f" at iteration {_iterations(found)}"
    sentence = f"First difference: {found.kind} {found.name}{at} is "
    sentence += f"{shown(found.first)} in A and {shown(found.second)} in B"
    relative = "" if found.relative is None else f" (relative difference {found.relative:.3g})"
    return f"{sentence}{relative}."


def difference_table(comparison: Comparison) -> Table:
    """All differences, a section a kind, in the order of `Comparison`."""
    table = Table(box=box.ASCII2)
    for name in ("kind", "what", "iteration", "A", "B"):
        table.add_column(name, overflow="fold")
    table.add_column("relative difference", justify="right")
    kind = None
    for difference in comparison.differences:
        if kind is not None and difference.kind != kind:
            table.add_section()
        table.add_row(*_cells(difference, repeat_kind=difference.kind != kind))
        kind = difference.kind
    return table


def shown(value: Any) -> str:
    """A value for a line of text: numbers in full, anything else cut off where it gets long.

    >>> shown(0.1), shown([1, 2]), shown("x" * 99)[-5:]
    ('0.1', '[1, 2]', 'xx...')
    """
    text = value.value if isinstance(value, Absent) else str(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _cells(difference: Difference, *, repeat_kind: bool) -> list[str]:
    relative = difference.relative
    return [
        difference.kind if repeat_kind else "",
        difference.name,
        "" if difference.iterations is None else _iterations(difference),
        shown(difference.first),
        shown(difference.second),
        "" if relative is None else f"{relative:.3g}",
    ]


def _iterations(difference: Difference) -> str:
    return "/".join(str(step) for step in dict.fromkeys(difference.iterations or ()))
