"""The console command `uda`: finds a command in the table and runs it, importing that one alone."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

from uda import __version__
from uda.commands._table import GROUPS, summaries

USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: that of the command; 2 where there is no such command.

    >>> main(["--version"])
    uda 0.1.0
    0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else USAGE
    if words[0] in ("-V", "--version"):
        print(f"uda {__version__}")
        return 0
    name = words[0].replace("-", "_")
    if name not in summaries():
        print(unknown(words[0]), file=sys.stderr)
        return USAGE
    status: int = import_module(f"uda.commands.{name}").main(words[1:])
    return status


def overview() -> str:
    """What `uda --help` shows: all commands by group, and an example.

    >>> overview().splitlines()[0]
    'usage: uda COMMAND ...'
    """
    lines = ["usage: uda COMMAND ...", "", "Unsupervised domain adaptation of segmentation."]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:21} {text}" for name, text in commands.items()]
    lines += ["", "`uda COMMAND --help` lists the options of a command.", ""]
    return "\n".join([*lines, "example: uda train configs/daformer/toycity_daformer.py"])


def unknown(word: str) -> str:
    """A sentence about a word that is no command.

    >>> unknown("trian")
    'uda: there is no command trian; did you mean train? uda --help lists all'
    """
    near = difflib.get_close_matches(word.replace("-", "_"), summaries(), n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    return f"uda: there is no command {word}; {guess}uda --help lists all"
