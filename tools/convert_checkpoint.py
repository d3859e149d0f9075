"""Rename Mix Transformer weights: `python tools/convert_checkpoint.py IN OUT --to mmseg`."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Convert Mix Transformer weights between SegFormer's and mmseg's names.",
        epilog="example: python tools/convert_checkpoint.py mit_b5.pth mmseg_b5.pth --to mmseg",
    )
    parser.add_argument("source", help="checkpoint with either kind of names")
    parser.add_argument("target", help="file to write")
    parser.add_argument("--to", choices=("segformer", "mmseg"), default="segformer")
    return parser.parse_args(arguments)


def main(argv: list[str] | None = None) -> None:
    """Convert."""
    arguments = parse_arguments(argv)
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


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
