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


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("root", help="folder to make")
    parser.add_argument("--seed", type=int, default=0, help="seed of all scenes (default 0)")
    parser.add_argument("--source", type=int, default=400, help="labelled source images (400)")
    parser.add_argument("--target", type=int, default=200, help="unlabelled target images (200)")
    parser.add_argument("--val", type=int, default=60, help="labelled target images (60)")
    parser.add_argument(
        "--size", type=parse_size, default=(240, 320), help="WIDTHxHEIGHT (320x240)"
    )
    parser.add_argument("--workers", type=int, default=None, help="processes (one for each core)")
    parser.add_argument(
        "--style-sheet", default=None, help="also write a contact sheet to this PNG"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 with the reason on standard error."""
    options = parse_arguments(arguments)
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
        print(f"make_toycity: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
