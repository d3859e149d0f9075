"""What all commands' parsers have in common: their name, a short usage, an example at the end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_FURTHER = "further options"


def started_as(name: str) -> str:
    """How a command was started: as `uda NAME` where the console command is running.

    >>> started_as("train")
    'python tools/train.py'
    """
    return f"uda {name}" if Path(sys.argv[0]).stem == "uda" else f"python tools/{name}.py"


class ScreenFormatter(argparse.HelpFormatter):
    """Help that fits a screen: the usage line names what has to be given, and "[options]".

    >>> parser = argparse.ArgumentParser(prog="uda x", formatter_class=ScreenFormatter)
    >>> _ = parser.add_argument("config")
    >>> _ = parser.add_argument("--seed", type=int)
    >>> parser.print_usage()
    usage: uda x [options] config
    """

    everything = False  # further options too

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)
        self._heading: str | None = None

    def start_section(self, heading: str | None) -> None:
        """Note which group of arguments begins."""
        self._heading = heading
        super().start_section(heading)

    def add_argument(self, action: argparse.Action) -> None:
        """Leave out further options, unless all are asked for."""
        if self.everything or self._heading != _FURTHER:
            super().add_argument(action)

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        """Leave out options that may be left out; they are listed below anyway."""
        given = [action for action in actions if action.required]
        options = argparse.Action(["options"], dest="options", nargs=0)
        super().add_usage(usage, [options, *given], [], prefix)


class _WholeFormatter(ScreenFormatter):
    """Help with further options."""

    everything = True


class _HelpAll(argparse.Action):
    """`--help-all`: print the help with further options, and stop."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print."""
        parser.formatter_class = _WholeFormatter
        parser.print_help()
        parser.exit()


def further_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """A group of options that `--help` leaves out and `--help-all`, added here, shows.

    >>> parser = argparse.ArgumentParser(prog="uda x", formatter_class=ScreenFormatter)
    >>> _ = further_options(parser).add_argument("--rare", help="for experts")
    >>> "--rare" in parser.format_help()
    False
    >>> parser.parse_args(["--rare", "1"])
    Namespace(rare='1')
    """
    parser.add_argument(
        "--help-all", action=_HelpAll, nargs=0, help="show further options too", dest="options",
        default=argparse.SUPPRESS,
    )  # fmt: skip
    return parser.add_argument_group(_FURTHER)


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
        prog=start,
        description=description,
        epilog=f"example: {start} {example}",
        formatter_class=ScreenFormatter,
    )
