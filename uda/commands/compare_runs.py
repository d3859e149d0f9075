"""Name the first difference between two runs: `python tools/compare_runs.py A B`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from uda.commands._parser import command_parser
from uda.commands._status import exit_status

EQUAL, DIFFERENT, NOT_COMPARED = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "compare_runs",
        description="Compare two runs by their run.json and what they logged, to the last digit. "
        "Exit status: 0 equal, 1 different, 2 cannot be compared.",
        example="work_dirs/first work_dirs/second",
    )
    command.add_argument("first", type=Path, metavar="A", help="folder of a run")
    command.add_argument("second", type=Path, metavar="B", help="folder of another run")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 equal, 1 different, 2 not comparable, with the reason on standard error."""
    return exit_status(run, argv, failed=NOT_COMPARED)


def run(argv: Sequence[str] | None = None) -> int:
    """Compare; the exit status."""
    options = parser().parse_args(argv)
    from rich.console import Console

    from uda.runs import compare_runs
    from uda.runs.table import difference_table, first_line

    comparison = compare_runs(options.first, options.second)
    print(first_line(comparison))
    if not comparison.differences:
        return EQUAL
    print(f"A: {options.first}\nB: {options.second}")
    # In a file, lines do not end at 80 characters.
    console = Console(markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
    console.print(difference_table(comparison))
    return DIFFERENT
