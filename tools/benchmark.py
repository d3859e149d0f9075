"""Measure what a training step costs: `python tools/benchmark.py step CONFIG`."""

from __future__ import annotations

import argparse
import json
import sys


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from uda._options import ConfigOptions

    parser = argparse.ArgumentParser(
        description="Time the training step of a config on random images.",
        epilog="example: python tools/benchmark.py step configs/daformer/toycity_daformer.py",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    step = commands.add_parser("step", help="forward, backward and optimiser, no data loading")
    step.add_argument("config")
    step.add_argument("--batch-size", type=int, help="images of each domain (default: config)")
    step.add_argument("--crop", type=int, nargs=2, metavar=("H", "W"), help="default: config")
    step.add_argument("--iterations", type=int, default=5)
    step.add_argument("--warm-up", type=int, default=2)
    step.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    step.add_argument("--amp", choices=("off", "bf16", "fp16"), default="off")
    step.add_argument("--json", action="store_true", help="print one JSON object")
    step.add_argument("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE")
    return parser.parse_args(arguments)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    arguments = parse_arguments(argv)
    import torch

    from uda.engine.benchmark import time_step
    from uda.engine.train import load_config, set_precision

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = load_config(arguments.config, arguments.cfg_options)
    set_precision(config, arguments.amp)
    times = time_step(
        config,
        batch_size=arguments.batch_size,
        crop=tuple(arguments.crop) if arguments.crop else None,
        iterations=arguments.iterations,
        warm_up=arguments.warm_up,
    ).as_dict()
    if arguments.json:
        print(json.dumps({"config": arguments.config, "amp": arguments.amp, **times}))
        return
    for name, value in times.items():
        print(f"{name:>16}  {value:.3f}" if isinstance(value, float) else f"{name:>16}  {value}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
