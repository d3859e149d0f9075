"""Train by a config: `python tools/train.py CONFIG`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from uda.commands._parser import command_parser
from uda.commands._status import exit_status

# As uda.engine.preemption.EXIT_CODE, which takes seconds to import.
TRY_AGAIN = 75


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from uda._options import ConfigOptions

    command = command_parser(
        "train",
        description="Train a method by its config.",
        example="configs/daformer/toycity_daformer.py --seed 1",
    )
    command.add_argument("config", help="a file under configs/ (a config is code: run only yours)")
    command.add_argument("--work-dir", help="folder of the run (default: work_dirs/<config name>)")
    command.add_argument(
        "--resume", action="store_true", help="go on from the newest checkpoint in the run's folder"
    )
    command.add_argument(
        "--trust-checkpoint",
        action="store_true",
        help="read a checkpoint that holds more than tensors, and run the code in it",
    )
    command.add_argument("--seed", type=int, help="replaces the config's seed")
    command.add_argument(
        "--deterministic",
        action="store_true",
        help="the same seed gives the same bits; slower on a GPU (docs/reproducibility.md)",
    )
    command.add_argument(
        "--amp", choices=("off", "bf16", "fp16"), default="off", help="half precision (off)"
    )
    command.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        default="none",
        help="what starts several processes (none); pytorch is torchrun",
    )
    command.add_argument(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        metavar="KEY=VALUE",
        help="change the config",
    )
    # Set by older launchers; torchrun uses the environment.
    command.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 trained, 1 with the reason on standard error, 75 stopped."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Train."""
    arguments = parser().parse_args(argv)
    # A run that is told to stop while it starts has lost nothing: the same code as later.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TRY_AGAIN))
    from uda.engine.run_record import recorded
    from uda.engine.train import build_runner, check_unused, load_config

    config = load_config(arguments.config, arguments.cfg_options)
    work_dir = arguments.work_dir or Path("work_dirs") / Path(arguments.config).stem
    if not arguments.resume:
        check_unused(work_dir)
    runner = build_runner(
        config,
        work_dir=work_dir,
        seed=arguments.seed,
        amp=arguments.amp,
        launcher=arguments.launcher,
        resume=arguments.resume,
        trust_checkpoint=arguments.trust_checkpoint,
        deterministic=arguments.deterministic,
    )
    with recorded(runner):
        runner.train()
