"""Shell completion: `uda completion bash`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from uda.commands._parser import command_parser
from uda.commands._status import exit_status
from uda.commands._table import summaries

SHELLS = ("bash", "zsh", "fish")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "completion",
        description="Print a script for your shell, after which the key Tab completes commands, "
        "options, their choices, and files. For bash write it to "
        "~/.local/share/bash-completion/completions/uda, for zsh to a file _uda in a folder of "
        "$fpath, for fish to ~/.config/fish/completions/uda.fish.",
        example="bash > ~/.local/share/bash-completion/completions/uda",
    )
    command.add_argument("shell", choices=SHELLS, help="the shell you use")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 printed, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Print the script."""
    options = parser().parse_args(argv)
    import shtab

    print(shtab.complete(all_commands(), shell=options.shell))


def all_commands() -> argparse.ArgumentParser:
    """One parser of `uda` with every command and option."""
    root = argparse.ArgumentParser(prog="uda")
    root.add_argument("--version", action="store_true", help="print the version")
    commands = root.add_subparsers(dest="command")
    for name, summary in summaries().items():
        command = import_module(f"uda.commands.{name}").parser()
        complete_files(command)
        commands.add_parser(name, help=summary, parents=[command], add_help=False)
    return root


def complete_files(command: argparse.ArgumentParser) -> None:
    """Mark the arguments in whose place the shell proposes files: any text, but for KEY=VALUE.

    >>> command = argparse.ArgumentParser()
    >>> config = command.add_argument("config")
    >>> seed = command.add_argument("--seed", type=int)
    >>> complete_files(command)
    >>> hasattr(config, "complete"), hasattr(seed, "complete")
    (True, False)
    """
    import shtab

    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                complete_files(inner)
        elif takes_text(action):
            marked: Any = action
            marked.complete = shtab.FILE


def takes_text(action: argparse.Action) -> bool:
    """Whether an argument takes any text that may be the name of a file."""
    names = ("KEY=VALUE", "NAME", "TEXT", "SET", "KIND", "I/N")
    return (
        action.nargs != 0
        and action.choices is None
        and action.type in (None, Path)
        and action.metavar not in names
    )
