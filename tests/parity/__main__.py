"""`python -m tests.parity FAMILY FOLDER`: compare this project with recorded arrays."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.parity.families import FAMILIES
from tests.parity.runner import run


def main() -> int:
    """Read the command line and run; the exit status is 1 if anything disagrees."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.parity",
        description="Runs this project on every .npz file of FOLDER. One line a file: result, "
        "name, the comparison that comes nearest to its limit, its error, the limit.",
    )
    parser.add_argument("family", metavar="FAMILY", help=f"built: {', '.join(sorted(FAMILIES))}")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("-v", "--verbose", action="store_true", help="print every comparison")
    given = parser.parse_args()
    return run(given.family, given.folder, verbose=given.verbose)


if __name__ == "__main__":
    sys.exit(main())
