"""Write configs for own folders: `python tools/own_folders.py --source-images DIR ...`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def named_class(text: str) -> tuple[str, tuple[int, ...] | None]:
    """A class as it is given: its name, or its name and its numbers in label files.

    >>> named_class("road"), named_class("person=24,25")
    (('road', None), ('person', (24, 25)))
    """
    name, equals, numbers = text.partition("=")
    parts = numbers.split(",") if equals else []
    if not name or any(not part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(
            f"a class is NAME or NAME=NUMBER,NUMBER,..., such as person=24,25; got {text!r}"
        )
    return name, tuple(int(part) for part in parts) if equals else None


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "own_folders",
        description="Write a config that adapts from a folder of labelled images to a folder of "
        "images without labels, and one that learns from the first alone.",
        example="--source-images game/images --source-labels game/labels --target-images street "
        "--classes road=7 building=11,12,13 person=24,25 --out configs/mine",
    )
    add = command.add_argument
    add("--source-images", type=Path, required=True, metavar="DIR", help="labelled images")
    add("--source-labels", type=Path, required=True, metavar="DIR", help="single-channel PNGs, "
        "named as the images")  # fmt: skip
    add("--target-images", type=Path, required=True, metavar="DIR", help="no label is looked for")
    add("--classes", type=named_class, nargs="+", required=True, metavar="NAME[=N,N]",
        help="in the order of their train ids; with the numbers that each has in the label files, "
        "or without, if these hold train ids")  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="gets adapt.py and source_only.py")
    add("--things", nargs="+", default=[], metavar="NAME", help="classes of countable objects, "
        "kept near ImageNet's features")  # fmt: skip
    add("--label-suffix", default=".png", help="what a label's name has in place of the image's "
        "ending (%(default)s)")  # fmt: skip
    add("--val-images", type=Path, metavar="DIR", help="labelled target images to measure on")
    add("--val-labels", type=Path, metavar="DIR", help="their labels")
    add("--short-side", type=int, default=240, help="pixels of an image's shorter side as the "
        "network sees it (%(default)s)")  # fmt: skip
    add("--iterations", type=int, default=2000, help="(%(default)s)")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 written, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Write the configs."""
    command = parser()
    options = command.parse_args(argv)
    names = [name for name, _ in options.classes]
    numbers = [group for _, group in options.classes if group is not None]
    if numbers and len(numbers) < len(names):
        command.error("--classes: give numbers for all classes, or for none")
    from uda.engine.folder_config import TwoFolders, write_configs

    folders = TwoFolders(
        source_images=options.source_images,
        source_labels=options.source_labels,
        target_images=options.target_images,
        classes=names,
        numbers=numbers or None,
        label_suffix=options.label_suffix,
        val_images=options.val_images,
        val_labels=options.val_labels,
        things=options.things,
        short_side=options.short_side,
        iterations=options.iterations,
    )
    for file in write_configs(folders, options.out):
        print(file)
