"""Join shards of pseudo-labels: `python tools/join_labels.py D`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "join_labels",
        description="Make one manifest of the shards that tools/generate_labels.py --shard has "
        "labelled on several machines, once their folders have been copied into one.",
        example="work_dirs/labels",
    )
    command.add_argument("folder", metavar="D", help="labels and manifests of all shards")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 joined, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Join, and say what there is."""
    options = parser().parse_args(argv)
    from uda.data.label_shards import join_shards

    manifest = join_shards(options.folder)
    share = 100 * manifest.kept_share()
    print(f"{len(manifest.images)} labels in {options.folder}, {share:.1f} % of all pixels")
