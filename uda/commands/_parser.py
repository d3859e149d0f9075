"""What all commands' parsers have in common: their name, and an example at the end of the help."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def started_as(name: str) -> str:
    """How a command was started: as `uda NAME` where the console command is running.

    >>> started_as("train")
    'python tools/train.py'
    """
    return f"uda {name}" if Path(sys.argv[0]).stem == "uda" else f"python tools/{name}.py"


def command_parser(name: str, *, description: str, example: str) -> argparse.ArgumentParser:
    """The parser of a command, without arguments yet.

    Args:
        name: Of the module in `uda.commands`.
        description: One to three sentences: what it does, and what an exit status means where it
            is not just 0 for done and 1 for failed.
        example: Arguments of an example, as they stand behind the command's name. The help ends
            with it.

    >>> print(command_parser("join_labels", description="Join.", example="labels").epilog)
    example: python tools/join_labels.py labels
    """
    start = started_as(name)
    return argparse.ArgumentParser(
        prog=start, description=description, epilog=f"example: {start} {example}"
    )
