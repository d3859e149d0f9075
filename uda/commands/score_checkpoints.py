"""Score all kept checkpoints of runs without labels: `python tools/score_checkpoints.py RUN`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from uda._options import ConfigOptions

    command = command_parser(
        "score_checkpoints",
        description="Score the kept checkpoints of runs on target images without any label, and "
        "rank them by each score. With --miou, labels tell how well the scores rank.",
        example="work_dirs/mine --on dusk --miou",
    )
    add = command.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or a checkpoint")
    add("--config", help="config of the runs (default: the one in each run's folder)")
    add("--network", choices=("student", "teacher"), default="student", help="which one to rank")
    add("--on", metavar="SET", help="evaluation set of the config (default: the validation set; "
        "without one, the target training images)")  # fmt: skip
    add("--images", metavar="FOLDER", help="any folder of images, in place of these")
    add("--limit", type=int, metavar="N", help="at most N images, evenly spread")
    add("--miou", action="store_true", help="read the labels as well: true mIoU, Spearman's and "
        "Kendall's rank correlation with it, and the regret of each choice")  # fmt: skip
    add("--json", metavar="FILE", help="write everything to FILE ('-': standard output)")
    add("--workers", type=int, default=1, help="processes that read images (1)")
    add(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        metavar="KEY=VALUE",
        help="change the config",
    )
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked against each other."""
    command = parser()
    options = command.parse_args(argv)
    if options.limit is not None and options.limit < 1:
        command.error(f"--limit has to be at least 1, got {options.limit}")
    if options.on and options.images:
        command.error("--on and --images both say which images: give one of them")
    return options


def run(argv: Sequence[str] | None = None) -> None:
    """Score all checkpoints, then show and write what came of it."""
    options = parsed(argv)
    from uda.engine.checkpoint_choice import choose, to_json
    from uda.files import write_atomically

    results = scored(options)
    choices = choose(results, options.network)
    if options.json != "-":
        show(results, choices, options.network)
    if options.json:
        text = to_json(results, choices, network=options.network, images=images_name(options))
        if options.json == "-":
            print(text)
        else:
            write_atomically(Path(options.json), f"{text}\n".encode())


def scored(options: argparse.Namespace) -> list[Any]:
    """The scores of every checkpoint of every run, in this order."""
    from mmengine.logging import MMLogger

    from uda.engine.checkpoint_scores import (
        config_of_run,
        images_to_score,
        kept_checkpoints,
        score_checkpoint,
    )
    from uda.engine.train import load_config

    # Metrics print a table an evaluation; here there is one of all checkpoints.
    name = "score_checkpoints"
    if not MMLogger.check_instance_created(name):
        MMLogger.get_instance(name, logger_name=name, log_level="ERROR")
    # All files are looked up first: a wrong name must not cost the scores of those before it.
    kept = {run: kept_checkpoints(run) for run in options.runs}
    files = {run: options.config or config_of_run(run) for run in options.runs}
    results = []
    for place, found in kept.items():
        config = load_config(files[place], options.cfg_options)
        dataset = images_to_score(
            config,
            on=options.on,
            folder=options.images,
            labelled=options.miou,
            limit=options.limit,
        )
        for checkpoint in found:
            print(f"{checkpoint}: {len(dataset)} images", file=sys.stderr, flush=True)
            results.append(
                score_checkpoint(
                    config, checkpoint, dataset, labelled=options.miou, workers=options.workers
                )
            )
    return results


def images_name(options: argparse.Namespace) -> str:
    """Which images were scored, for the file."""
    return str(options.images or options.on or "validation or target training images")


def show(results: Sequence[Any], choices: dict[str, Any], network: str) -> None:
    """The tables: all checkpoints with their ranks, and what each score would choose."""
    from rich.console import Console

    from uda.engine.checkpoint_choice import checkpoint_table, choice_table

    # In a file, lines do not end at 80 characters.
    width = None if sys.stdout.isatty() else 200
    console = Console(markup=False, emoji=False, highlight=False, width=width)
    console.print(checkpoint_table(results, choices, network))
    console.print(choice_table(results, choices, network))
