"""Join shards of pseudo-labels: `python tools/join_labels.py D`."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str] | None = None) -> None:
    """Join, and say what there is."""
    parser = argparse.ArgumentParser(
        description="Make one manifest of the shards that tools/generate_labels.py --shard has "
        "labelled on several machines, once their folders have been copied into one.",
        epilog="example: python tools/join_labels.py work_dirs/labels",
    )
    parser.add_argument("folder", metavar="D", help="labels and manifests of all shards")
    options = parser.parse_args(arguments)
    from uda.data.label_shards import join_shards

    manifest = join_shards(options.folder)
    share = 100 * manifest.kept_share()
    print(f"{len(manifest.images)} labels in {options.folder}, {share:.1f} % of all pixels")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
