"""Rounds of labelling and training: `python tools/train_rounds.py CONFIG --start CHECKPOINT`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from uda._options import ConfigOptions

    command = command_parser(
        "train_rounds",
        description="Label the target images, train on the labels, and again (IAST, HIAST). The "
        "same command goes on after a stop. One process.",
        example="configs/hiast/camvid_day2dusk_hiast.py "
        "--start work_dirs/camvid_day2dusk_source_only/iter_600.pth",
    )
    add = command.add_argument
    add("config", help="a config with rounds (a config is code: run only yours)")
    add("--start", metavar="FILE", help="checkpoint from which round 1 starts, and which labels "
        "for it; replaces the config's")  # fmt: skip
    add("--start-network", choices=("student", "teacher"), help="of --start (default: the student)")
    add("--work-dir", help="folder of all rounds (default: work_dirs/<config name>)")
    add("--seed", type=int, help="replaces the config's seed")
    add("--deterministic", action="store_true", help="the same seed gives the same bits; slower on "
        "a GPU (docs/reproducibility.md)")  # fmt: skip
    add("--amp", choices=("off", "bf16", "fp16"), default="off", help="half precision (off)")
    add("--workers", type=int, default=1, help="processes that read images for labelling")
    add(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        metavar="KEY=VALUE",
        help="change the config",
    )
    return command


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked against each other."""
    command = parser()
    options = command.parse_args(argv)
    if options.start_network and not options.start:
        command.error("--start-network says which network of --start: give --start FILE")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Run the rounds."""
    options = parsed(argv)
    from uda.engine.round_settings import round_settings
    from uda.engine.round_table import round_lines, round_results
    from uda.engine.rounds import run_rounds
    from uda.engine.train import load_config

    start = None
    if options.start:
        start = {"checkpoint": options.start}
        if options.start_network:
            start["network"] = options.start_network
    config = load_config(options.config, options.cfg_options)
    work_dir = options.work_dir or Path("work_dirs") / Path(options.config).stem
    run_rounds(
        options.config,
        round_settings(config, start=start),
        work_dir=work_dir,
        options=options.cfg_options,
        seed=options.seed,
        amp=options.amp,
        deterministic=options.deterministic,
        workers=options.workers,
        tell=told,
        progress=lambda done, total: print(f"\r{done} of {total} labelled", end="", flush=True),
    )
    print("\n".join(round_lines(round_results(work_dir))))


def told(number: int, what: str, manifest: Any) -> None:
    """Print what happens in a round."""
    if manifest is not None:
        print(f"\rround {number}: {100 * manifest.kept_share():.1f} % of all pixels have a label")
    print(f"round {number}: {'trained before' if what == 'done' else what}")
