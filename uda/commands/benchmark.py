"""Measure what runs cost: `python tools/benchmark.py step|memory|adapt|labels ...`.

`step` measures time and memory; `memory` computes the memory, for any crop on any machine; `labels`
measures label generation against plain inference.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from uda._options import ConfigOptions

    command = command_parser(
        "benchmark",
        description="Time the training step of a config on random images, count its memory, or "
        "time what test-time adaptation costs over plain inference.",
        example="step configs/daformer/toycity_daformer.py",
    )
    commands = command.add_subparsers(dest="command", required=True)
    step = commands.add_parser("step", help="forward, backward and optimiser, no data loading")
    memory = commands.add_parser("memory", help="count bytes without computing anything")
    for add in (step.add_argument, memory.add_argument):
        add("config")
        add("--batch-size", type=int, help="images of each domain (default: config)")
        add("--crop", type=int, nargs=2, metavar=("H", "W"), help="default: config")
        add("--json", action="store_true", help="print one JSON object")
        add("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE")
    memory.add_argument("--amp", choices=("off", "bf16"), default="off")
    step.add_argument("--iterations", type=int, default=5)
    step.add_argument("--warm-up", type=int, default=2)
    step.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    step.add_argument("--amp", choices=("off", "bf16", "fp16"), default="off")
    add_adapt(commands)
    add_labels(commands)
    return command


def add_adapt(commands: Any) -> None:
    """The command `adapt`."""
    adapt = commands.add_parser("adapt", help="time and memory of adapting over plain inference")
    adapt.add_argument("network", help="a timm classifier, or a config, whose segmentor is taken")
    adapt.add_argument("--weights", help="of the classifier: a file, or efficientnet-lite0 "
                       "(default: drawn at random, which takes as long)")  # fmt: skip
    adapt.add_argument("--methods", nargs="+", default=["tent", "rpl"], metavar="NAME")
    adapt.add_argument("--batch-size", type=int, default=1)
    adapt.add_argument("--size", type=int, nargs=2, metavar=("H", "W"))
    adapt.add_argument("--statistics", help="of batch normalisation (default: the method's)")
    adapt.add_argument("--iterations", type=int, default=10)
    adapt.add_argument("--warm-up", type=int, default=2)
    adapt.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    adapt.add_argument("--json", action="store_true", help="print one JSON object")


def add_labels(commands: Any) -> None:
    """The command `labels`."""
    from uda._options import ConfigOptions

    labels = commands.add_parser("labels", help="label generation over plain inference, in turn")
    add = labels.add_argument
    add("config")
    add("--checkpoint", metavar="FILE", help="default: random weights")
    add("--network", choices=("student", "teacher"), help="of the checkpoint")
    add("--images", type=int, default=16, help="of the target set")
    add("--repeats", type=int, default=4)
    add("--threads", type=int, help="threads of torch (default: its own choice)")
    add("--json", action="store_true", help="print one JSON object")
    add("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    arguments = parser().parse_args(argv)
    if arguments.command == "adapt":
        measure_adapt(arguments)
        return
    measure = {"step": measured_step, "memory": counted_memory, "labels": measured_labels}
    figures = measure[arguments.command](arguments)
    if arguments.json:
        how = {} if arguments.command == "labels" else {"amp": arguments.amp}
        print(json.dumps({"config": arguments.config, **how, **figures}))
        return
    phases = figures.pop("phases", {})
    for name, value in figures.items():
        print(f"{name:>20}  {value:.3f}" if isinstance(value, float) else f"{name:>20}  {value}")
    for name, share in phases.items():
        print(f"{name:>20}  {100 * share:.1f} %")


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


def measured_labels(arguments: argparse.Namespace) -> dict[str, Any]:
    """Speed of label generation, and of plain inference of the same images."""
    import torch

    from uda.engine.label_benchmark import network_of, time_labels
    from uda.engine.label_settings import label_settings
    from uda.engine.train import load_config

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = load_config(arguments.config, arguments.cfg_options)
    return time_labels(
        network_of(config, arguments.checkpoint, arguments.network),
        config,
        settings=label_settings(config),
        images=arguments.images,
        repeats=arguments.repeats,
    ).as_dict()


def measure_adapt(arguments: argparse.Namespace) -> None:
    """A row for each way to predict."""
    from uda.engine.adaptation_overhead import Workload, overhead, variants

    workload = Workload(
        arguments.network,
        arguments.weights,
        arguments.batch_size,
        tuple(arguments.size) if arguments.size else None,
        arguments.threads,
    )
    settings = {"statistics": arguments.statistics} if arguments.statistics else None
    chosen = variants(arguments.methods, settings)
    costs = overhead(workload, chosen, iterations=arguments.iterations, warm_up=arguments.warm_up)
    if arguments.json:
        rows = [cost.as_dict() for cost in costs]
        print(json.dumps({"settings": vars(arguments), "costs": rows}))
        return
    print(f"{'':18}{'wall ms':>9}{'cpu ms':>9}{'time':>7}{'MiB':>8}{'ratio':>7}{'images':>8}"
          f"{'ratio':>7}")  # fmt: skip
    for cost in costs:
        cells = [
            f"{1000 * cost.wall_s:9.1f}{1000 * cost.cpu_s:9.1f}{cost.time_ratio:6.2f}x",
            *(
                f"{'-':>8}{'-':>7}" if ratio is None else f"{value:8.0f}{ratio:6.2f}x"
                for value, ratio in (
                    (cost.memory_mib, cost.memory_ratio),
                    (cost.images_mib, cost.images_ratio),
                )
            ),
        ]
        print(f"{cost.name:18}{''.join(cells)}")
