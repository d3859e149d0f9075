"""What a training step costs: `python tools/benchmark.py step CONFIG`.

`step` measures time and memory; `memory` computes the memory, for any crop on any machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from uda._options import ConfigOptions

    parser = argparse.ArgumentParser(
        description="Time the training step of a config on random images, or count its memory.",
        epilog="example: python tools/benchmark.py step configs/daformer/toycity_daformer.py",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("step", help="forward, backward and optimiser, no data loading")
    memory = commands.add_parser("memory", help="count bytes without computing anything")
    for command in (step, memory):
        command.add_argument("config")
        command.add_argument(
            "--batch-size", type=int, help="images of each domain (default: config)"
        )
        command.add_argument(
            "--crop", type=int, nargs=2, metavar=("H", "W"), help="default: config"
        )
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.add_argument("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE")
    memory.add_argument("--amp", choices=("off", "bf16"), default="off")
    step.add_argument("--iterations", type=int, default=5)
    step.add_argument("--warm-up", type=int, default=2)
    step.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    step.add_argument("--amp", choices=("off", "bf16", "fp16"), default="off")
    return parser.parse_args(arguments)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    arguments = parse_arguments(argv)
    figures = {"step": measured_step, "memory": counted_memory}[arguments.command](arguments)
    if arguments.json:
        print(json.dumps({"config": arguments.config, "amp": arguments.amp, **figures}))
        return
    for name, value in figures.items():
        print(f"{name:>16}  {value:.3f}" if isinstance(value, float) else f"{name:>16}  {value}")


def measured_step(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times and memory of training steps that are run."""
    import torch

    from uda.engine.benchmark import time_step
    from uda.engine.train import load_config, set_precision

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = load_config(arguments.config, arguments.cfg_options)
    set_precision(config, arguments.amp)
    return time_step(
        config,
        batch_size=arguments.batch_size,
        crop=tuple(arguments.crop) if arguments.crop else None,
        iterations=arguments.iterations,
        warm_up=arguments.warm_up,
    ).as_dict()


def counted_memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """MiB of a training step, by computation."""
    from uda.engine.memory import count_memory
    from uda.engine.train import load_config

    return count_memory(
        load_config(arguments.config, arguments.cfg_options),
        batch_size=arguments.batch_size,
        crop=tuple(arguments.crop) if arguments.crop else None,
        bfloat16=arguments.amp == "bf16",
    ).as_dict()


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
