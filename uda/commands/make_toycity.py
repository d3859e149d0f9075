"""Write the generated two-domain street data set ToyCity.

    python tools/make_toycity.py data/toycity
    python tools/make_toycity.py data/toycity --size 480x360 --style-sheet toycity.png

The source domain is written in the GTA5 layout, the target in the Cityscapes layout; with
`--target 0 --val 0` or with `--source 0` the other domain is left out. A folder that already holds
the same data set is left as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from uda.commands._parser import command_parser
from uda.data.toycity import write_toycity
from uda.data.toycity.png import encode_rgb
from uda.data.toycity.sheet import contact_sheet
from uda.files import write_atomically


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of a size written as WIDTHxHEIGHT."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(
            f"size must be WIDTHxHEIGHT, for example 320x240: {text!r}"
        )
    return int(parts[1]), int(parts[0])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "make_toycity",
        description="Write the generated two-domain street data set ToyCity: the source in the "
        "GTA5 layout, the target in the Cityscapes layout. With --target 0 --val 0 or with "
        "--source 0 the other domain is left out. What is there already stays.",
        example="data/toycity --size 480x360 --style-sheet toycity.png",
    )
    add = command.add_argument
    add("root", help="folder to make")
    add("--seed", type=int, default=0, help="seed of all scenes (default 0)")
    add("--source", type=int, default=400, help="labelled source images (400)")
    add("--target", type=int, default=200, help="unlabelled target images (200)")
    add("--val", type=int, default=60, help="labelled target images (60)")
    add("--size", type=parse_size, default=(240, 320), help="WIDTHxHEIGHT (320x240)")
    add("--workers", type=int, default=None, help="processes (one for each core)")
    add("--style-sheet", default=None, help="also write a contact sheet to this PNG")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    options = parser().parse_args(argv)
    start = time.perf_counter()
    try:
        root = write_toycity(
            options.root,
            seed=options.seed,
            num_source=options.source,
            num_target=options.target,
            num_val=options.val,
            size=options.size,
            workers=options.workers,
        )
        print(f"ToyCity in {root} ({time.perf_counter() - start:.1f} s)")
        if options.style_sheet:
            sheet = contact_sheet(seed=options.seed, size=options.size)
            write_atomically(options.style_sheet, encode_rgb(sheet))
            print(f"contact sheet in {options.style_sheet}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
