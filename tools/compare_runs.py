"""Name the first difference between two runs: `python tools/compare_runs.py A B`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

EQUAL, DIFFERENT, NOT_COMPARED = 0, 1, 2


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Compare two runs by their run.json and what they logged, to the last digit. "
        "Exit status: 0 equal, 1 different, 2 cannot be compared.",
        epilog="example: python tools/compare_runs.py work_dirs/first work_dirs/second",
    )
    parser.add_argument("first", type=Path, metavar="A", help="folder of a run")
    parser.add_argument("second", type=Path, metavar="B", help="folder of another run")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Compare; the exit status."""
    options = parse_arguments(arguments)
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


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(NOT_COMPARED)
