"""The comparison in words and as a table."""

from __future__ import annotations

import io

from rich.console import Console

from uda.runs import Comparison, Difference
from uda.runs.table import difference_table, first_line, shown
from uda.runs.values import ABSENT

SETTING = Difference("setting", "model.[a].decay", 0.99, ABSENT)
LOSS = Difference("log", "loss", 2.0, 1.5, (4, 4))
SCORE = Difference("score", "student/mIoU", 30.0, 20.0, (6, 3))


def test_first_line_values() -> None:
    """The first difference with both values; equal runs with what was compared."""
    assert first_line(Comparison([SETTING, LOSS], 3, 2)) == (
        "First difference: setting model.[a].decay is 0.99 in A and not there in B."
    )
    assert first_line(Comparison([LOSS], 3, 2)) == (
        "First difference: log loss at iteration 4 is 2.0 in A and 1.5 in B "
        "(relative difference 0.25)."
    )
    assert first_line(Comparison([], 3, 2)) == (
        "The runs are equal to the last digit: facts, 3 logged iterations, 2 validations."
    )
    assert first_line(Comparison([], 0, 0)) == (
        "The runs are equal in what their records say; no logged iteration to compare."
    )


def test_difference_table_values() -> None:
    """A row a difference, the kind once; iterations of both where they differ; no markup."""
    text = io.StringIO()
    table = difference_table(Comparison([SETTING, LOSS, SCORE], 3, 2))
    Console(file=text, width=120, markup=False).print(table)
    lines = [line for line in text.getvalue().splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert rows == [
        ["kind", "what", "iteration", "A", "B", "relative difference"],
        ["setting", "model.[a].decay", "", "0.99", "not there", ""],
        ["log", "loss", "4", "2.0", "1.5", "0.25"],
        ["score", "student/mIoU", "6/3", "30.0", "20.0", "0.333"],
    ]


def test_long_values_are_cut_off() -> None:
    """A list of class names does not fill the screen."""
    assert shown(["road"] * 30) == f"{str(['road'] * 30)[:57]}..."
