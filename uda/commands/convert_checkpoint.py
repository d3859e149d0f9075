"""Rename Mix Transformer weights: `python tools/convert_checkpoint.py IN OUT --to mmseg`."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "convert_checkpoint",
        description="Convert Mix Transformer weights between SegFormer's and mmseg's names.",
        example="mit_b5.pth mmseg_b5.pth --to mmseg",
    )
    command.add_argument("source", help="checkpoint with either kind of names")
    command.add_argument("target", help="file to write")
    command.add_argument(
        "--to",
        choices=("segformer", "mmseg"),
        default="segformer",
        help="names to write (segformer)",
    )
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 written, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Convert."""
    arguments = parser().parse_args(argv)
    import torch

    from uda.files import write_atomically
    from uda.models.mit_keys import to_mmseg_names, to_segformer_names
    from uda.models.state_dicts import read_state_dict

    state = to_segformer_names(read_state_dict(arguments.source))
    if arguments.to == "mmseg":
        state = to_mmseg_names(state)
    content = io.BytesIO()
    torch.save(state, content)
    write_atomically(Path(arguments.target), content.getvalue())
    print(f"{len(state)} tensors with {arguments.to} names in {arguments.target}")
