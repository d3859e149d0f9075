"""Convert labels and count their classes; cache the images of training."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from rich.console import Console

from uda._options import ConfigOptions
from uda.commands._parser import command_parser
from uda.data.layouts import LAYOUTS, Layout, folder_layout
from uda.data.prepare import Prepared, prepare, statistics_table


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 the data cannot be prepared, 130 interrupted."""
    arguments = parsed(argv)
    try:
        if arguments.layout is not None:
            report(prepared_of(arguments))
        if arguments.cache is not None:
            write_cache(arguments)
    except KeyboardInterrupt:
        print("interrupted; start the same command again to continue", file=sys.stderr)
        return 130
    except BrokenProcessPool:
        print("error: a worker process died (out of memory?); use fewer --workers", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def prepared_of(arguments: argparse.Namespace) -> Prepared:
    """The labels of a data set converted."""
    return prepare(
        layout_of(arguments),
        arguments.root,
        workers=arguments.workers,
        out=arguments.out,
        force=arguments.force,
        unknown=arguments.unknown,
        skip_mismatched=arguments.skip_mismatched,
    )


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked against each other."""
    command = parser()
    arguments = command.parse_args(argv)
    if (arguments.layout is None) != (arguments.root is None):
        command.error("LAYOUT and ROOT go together: the kind of a data set, and its folder")
    if arguments.layout is None and arguments.cache is None:
        command.error("give LAYOUT and ROOT, to convert labels, or --cache CONFIG, or both")
    if arguments.cache is None and (arguments.cache_dir or arguments.cfg_options):
        command.error("--cache-dir and --cfg-options go with --cache CONFIG")
    return arguments


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "prepare_data", description=__doc__ or "", example="gta5 data/gta --workers 8"
    )
    add = command.add_argument
    add("layout", nargs="?", choices=sorted(LAYOUTS), metavar="LAYOUT", help=" | ".join(LAYOUTS))
    add("root", nargs="?", type=Path, metavar="ROOT", help="folder of the data set")
    add("--out", type=Path, metavar="DIR", help="write here if ROOT is read-only")
    cores = os.cpu_count() or 1
    add("--workers", type=int, default=cores, metavar="N", help=f"processes (default {cores})")
    add("--force", action="store_true", help="convert again what is there already")
    add("--label-map", type=Path, metavar="JSON", help='folder only: {"raw id": train id, ...}')
    add("--unknown", choices=("error", "ignore"), default="error",
        help="undefined ids: stop, or 255")  # fmt: skip
    add("--skip-mismatched", action="store_true", help="leave out labels unlike their image in "
        "size")  # fmt: skip
    add("--cache", metavar="CONFIG", help="store the training images of a config (below ROOT, if "
        "given) as its pipelines resize them")  # fmt: skip
    add("--cache-dir", type=Path, metavar="DIR", help="where to (default: data/cache)")
    add("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE", help="change the "
        "config")  # fmt: skip
    command.usage = f"{command.prog} [LAYOUT ROOT] [--cache CONFIG] [options]"
    return command


def write_cache(arguments: argparse.Namespace) -> None:
    """Cache the images of a config; what it takes is printed before."""
    from rich.progress import Progress

    from uda.engine.data_cache import write_caches
    from uda.engine.train import load_config

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("images")
        write_caches(
            load_config(arguments.cache, arguments.cfg_options),
            root=arguments.root,
            cache=arguments.cache_dir,
            workers=arguments.workers,
            tell=lambda name, need: print(f"{name}: {need.told()}", flush=True),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print("cached" if arguments.cache_dir is None else "cached; training reads it with "
          f"--cfg-options train_dataloader.dataset.cache={arguments.cache_dir}")  # fmt: skip


def layout_of(arguments: argparse.Namespace) -> Layout:
    """Layout that the arguments name, with the label map in it."""
    if arguments.label_map is None:
        return LAYOUTS[arguments.layout]
    if arguments.layout != "folder":
        raise ValueError(f"--label-map goes with layout folder, not with {arguments.layout}")
    return folder_layout(read_label_map(arguments.label_map))


def read_label_map(path: Path) -> dict[int, int]:
    """Table ``{raw id: train id}`` of a JSON file, whose keys are strings as JSON wants them."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {int(raw): int(train_id) for raw, train_id in content.items()}
    except FileNotFoundError:
        raise FileNotFoundError(f"label map not found: {path.absolute()}") from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f'label map {path.absolute()} is not of the form {{"7": 0, "26": 1}}: {error}'
        ) from error


def report(prepared: Prepared) -> None:
    """Print the table on standard output and the warnings on standard error."""
    console = Console()
    if prepared.statistics is not None:
        console.print(statistics_table(prepared))
    for warning in prepared.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{prepared.converted} converted, {prepared.kept} kept")
    if prepared.statistics_path is not None:
        print(f"statistics: {prepared.statistics_path}")
