"""Measure what runs cost: `python tools/benchmark.py step|memory|adapt|labels|data|evaluate ...`.

`step` measures time and memory; `memory` computes the memory, for any crop on any machine; `labels`
measures label generation against plain inference; `data` and `evaluate` measure reading and scoring
against mmseg's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from uda.commands._parser import ScreenFormatter, command_parser
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
    commands = command.add_subparsers(
        dest="command", required=True, prog=command.prog, help="what to measure"
    )
    step = commands.add_parser(
        "step",
        help="forward, backward and optimiser, no data loading",
        formatter_class=ScreenFormatter,
    )
    memory = commands.add_parser(
        "memory", help="count bytes without computing anything", formatter_class=ScreenFormatter
    )
    for add in (step.add_argument, memory.add_argument):
        add("config", help="a file under configs/ (a config is code: run only yours)")
        add("--batch-size", type=int, help="images of each domain (default: config)")
        add("--crop", type=int, nargs=2, metavar=("H", "W"), help="default: config")
        add("--json", action="store_true", help="print one JSON object")
        add(
            "--cfg-options",
            nargs="+",
            action=ConfigOptions,
            metavar="KEY=VALUE",
            help="change the config",
        )
    memory.add_argument(
        "--amp", choices=("off", "bf16"), default="off", help="half precision (off)"
    )
    step.add_argument("--iterations", type=int, default=5, metavar="N", help="to measure (5)")
    step.add_argument("--warm-up", type=int, default=2, metavar="N", help="before them (2)")
    step.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    step.add_argument(
        "--amp", choices=("off", "bf16", "fp16"), default="off", help="half precision (off)"
    )
    add_adapt(commands)
    add_labels(commands)
    add_data(commands)
    add_evaluate(commands)
    return command


def add_adapt(commands: Any) -> None:
    """The command `adapt`."""
    adapt = commands.add_parser(
        "adapt",
        help="time and memory of adapting over plain inference",
        formatter_class=ScreenFormatter,
    )
    adapt.add_argument("network", help="a timm classifier, or a config, whose segmentor is taken")
    adapt.add_argument("--weights", help="of the classifier: a file, or efficientnet-lite0 "
                       "(default: drawn at random, which takes as long)")  # fmt: skip
    adapt.add_argument(
        "--methods",
        nargs="+",
        default=["tent", "rpl"],
        metavar="NAME",
        help="of uda.tta (tent rpl)",
    )
    adapt.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images in a batch (1)"
    )
    adapt.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="of images")
    adapt.add_argument("--statistics", help="of batch normalisation (default: the method's)")
    adapt.add_argument("--iterations", type=int, default=10, metavar="N", help="to measure (10)")
    adapt.add_argument("--warm-up", type=int, default=2, metavar="N", help="before them (2)")
    adapt.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    adapt.add_argument("--json", action="store_true", help="print one JSON object")


def add_labels(commands: Any) -> None:
    """The command `labels`."""
    from uda._options import ConfigOptions

    labels = commands.add_parser(
        "labels",
        help="label generation over plain inference, in turn",
        formatter_class=ScreenFormatter,
    )
    add = labels.add_argument
    add("config", help="a file under configs/ (a config is code: run only yours)")
    add("--checkpoint", metavar="FILE", help="default: random weights")
    add("--network", choices=("student", "teacher"), help="of the checkpoint")
    add("--images", type=int, default=16, help="of the target set")
    add("--repeats", type=int, default=4, metavar="N", help="of both in turn (4)")
    add("--threads", type=int, help="threads of torch (default: its own choice)")
    add("--json", action="store_true", help="print one JSON object")
    add(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        metavar="KEY=VALUE",
        help="change the config",
    )


def add_data(commands: Any) -> None:
    """The command `data`."""
    from uda._options import ConfigOptions

    data = commands.add_parser("data", help="reading of training pairs: mmseg's pipeline, ours "
        "from files, and from a cache, in turn", formatter_class=ScreenFormatter)  # fmt: skip
    add = data.add_argument
    add("config", help="a file under configs/ (a config is code: run only yours)")
    add("--images", type=int, default=8, help="of each domain")
    add("--size", type=int, nargs=2, default=(1024, 2048), metavar=("H", "W"),
        help="of images that are made up")  # fmt: skip
    add("--own", action="store_true", help="take the config's images, not made-up ones")
    add("--sampling", action="store_true", help="also draw by rare class sampling")
    add("--repeats", type=int, default=7, help="rounds of all ways in turn (7)")
    add("--json", action="store_true", help="print one JSON object")
    add("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE",
        help="change values of the config")  # fmt: skip


def add_evaluate(commands: Any) -> None:
    """The command `evaluate`."""
    evaluate = commands.add_parser("evaluate", help="classes of resized logits, and their "
        "counts: mmseg's way and ours, in turn", formatter_class=ScreenFormatter)  # fmt: skip
    add = evaluate.add_argument
    add("--size", type=int, nargs=2, default=(1024, 2048), metavar=("H", "W"), help="of labels")
    add("--logits", type=int, nargs=2, default=(128, 256), metavar=("H", "W"),
        help="size of what the network gives")  # fmt: skip
    add("--classes", type=int, default=19, help="of the maps (19)")
    add("--repeats", type=int, default=9, help="rounds of all ways in turn (9)")
    add("--threads", type=int, help="threads of torch (default: its own choice)")
    add("--json", action="store_true", help="print one JSON object")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 measured, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    arguments = parser().parse_args(argv)
    rows = {"adapt": measure_adapt, "data": measure_data, "evaluate": measure_scoring}
    if arguments.command in rows:
        rows[arguments.command](arguments)
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


def measure_data(arguments: argparse.Namespace) -> None:
    """A row for each way to read a pair."""
    from uda.engine.data_benchmark import time_data
    from uda.engine.train import load_config

    found = time_data(
        load_config(arguments.config, arguments.cfg_options),
        images=arguments.images,
        size=None if arguments.own else tuple(arguments.size),
        repeats=arguments.repeats,
        sampling=arguments.sampling,
    )
    print_rows([one.as_dict() for one in found], arguments)


def measure_scoring(arguments: argparse.Namespace) -> None:
    """A row for each part of scoring."""
    import torch

    from uda.engine.evaluation_benchmark import time_scoring

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    found = time_scoring(
        size=tuple(arguments.size),
        logits=tuple(arguments.logits),
        num_classes=arguments.classes,
        repeats=arguments.repeats,
    )
    print_rows([one.as_dict() for one in found], arguments)


def print_rows(rows: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """A table with a row for each dict, or one JSON object with the settings."""
    if arguments.json:
        print(json.dumps({"settings": vars(arguments), "rows": list(rows)}))
        return
    names = list(rows[0])
    print(f"{names[0]:16}" + "".join(f"{name:>15}" for name in names[1:]))
    for row in rows:
        first, *figures = row.values()
        print(f"{first:16}" + "".join(f"{value:15.2f}" for value in figures))
