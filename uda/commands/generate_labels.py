"""Pseudo-labels of a target set: `python tools/generate_labels.py CONFIG CHECKPOINT --out D`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from uda._options import ConfigOptions

    command = command_parser(
        "generate_labels",
        description="Label the target training images of a config, without looking at any label. "
        "Settings come from label_generation in the config. Started again after a stop, it goes "
        "on and ends with the same labels.",
        example="configs/hiast/camvid_day2dusk_hiast.py "
        "work_dirs/camvid_day2dusk_daformer/iter_600.pth --network teacher --out work_dirs/labels",
    )
    add = command.add_argument
    add("config", help="a config whose network fits the checkpoint")
    add("checkpoint", help="full or deploy checkpoint")
    add("--out", required=True, metavar="D", help="folder of labels and manifest.json")
    add(
        "--network", choices=("student", "teacher"),
        help="default: the student of a full checkpoint, the one that a deploy checkpoint holds",
    )  # fmt: skip
    add("--seed", type=int, help="of the order of images; replaces the config's")
    add("--test-time-augmentation", nargs="+", type=float, metavar="SCALE",
        help="mean over these scales of the image")  # fmt: skip
    add("--flip", action="store_true", default=None, help="and over its mirror image")
    add("--amp", choices=("off", "bf16", "fp16"), help="precision of the network; replaces the "
        "config's")  # fmt: skip
    add("--workers", type=int, default=1, help="processes that read images")
    add("--launcher", choices=("none", "pytorch"), default="none", help="pytorch: started by "
        "torchrun; the processes share the work and write what one process would")  # fmt: skip
    add("--shard", metavar="I/N", help="label the I-th of N shares alone, with thresholds of its "
        "own, for machines that cannot talk; the last of them joins the shares in D, or "
        "tools/join_labels.py where each machine has a D of its own")  # fmt: skip
    add(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        metavar="KEY=VALUE",
        help="change the config",
    )
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 labelled, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Label, and print what was kept."""
    options = parser().parse_args(argv)
    from mmengine.logging import MMLogger
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeRemainingColumn

    from uda.data.label_shards import Shard
    from uda.engine.evaluate import load_network
    from uda.engine.label_generation import generate_labels
    from uda.engine.label_settings import label_settings
    from uda.engine.train import load_config

    shard = Shard.parse(options.shard or "1/1")
    is_first = join_processes(options.launcher) == 0
    if not MMLogger.check_instance_created("labels"):
        MMLogger.get_instance("labels", logger_name="labels")
    config = load_config(options.config, options.cfg_options)
    settings = label_settings(
        config,
        seed=options.seed,
        scales=options.test_time_augmentation,
        flip=options.flip,
        amp=options.amp,
    )
    network = load_network(config, options.checkpoint, options.network)
    console = Console(quiet=not is_first)
    columns = (SpinnerColumn(), *Progress.get_default_columns()[:2], MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"labels by the {network.name}", total=None)
        manifest = generate_labels(
            network,
            config,
            checkpoint=options.checkpoint,
            out=options.out,
            settings=settings,
            workers=options.workers,
            shard=shard,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(kept_table(manifest))
    console.out(told(manifest, network.name, options.out), highlight=False)


def join_processes(launcher: str) -> int:
    """The number of this process, after joining the others that torchrun has started."""
    if launcher == "none":
        return 0
    import torch

    from uda.engine.train import start_gloo

    # Each process predicts alone; what they exchange is small and needs no NCCL.
    start_gloo("pytorch", tool="tools/generate_labels.py CONFIG CHECKPOINT --out D")
    rank = torch.distributed.get_rank()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return rank


def told(manifest: Any, network: str, out: str) -> str:
    """A sentence about what there is now."""
    sentence = f"{len(manifest.images)} labels by the {network} in {out}"
    if "shard" in manifest.settings:
        number, count = manifest.settings["shard"]
        sentence += f", shard {number} of {count}: not joined yet, as others are missing there"
    return sentence


def kept_table(manifest: Any) -> Any:
    """A table of what was kept of each class.

    Args:
        manifest: See `uda.data.pseudo_labels`.
    """
    from rich.table import Table

    pixels, shares = manifest.pixels(), manifest.kept_shares()
    total = max(int(pixels.sum()), 1)
    table = Table(title=f"{100 * manifest.kept_share():.1f} % of all pixels have a label")
    for name in ("class", "of these, %", "kept, %", "images", "mean confidence", "threshold"):
        table.add_column(name, justify="left" if name == "class" else "right")
    last = manifest.thresholds[-1] if manifest.thresholds else [None] * len(pixels)
    for index, name in enumerate(manifest.classes):
        table.add_row(
            name,
            f"{100 * pixels[index].sum() / total:.2f}",
            f"{100 * shares[index]:.1f}",
            str(int((pixels[index] > 0).sum())),
            f"{manifest.class_mean[index]:.3f}" if pixels[index].any() else "-",
            "-" if last[index] is None else f"{last[index]:.3f}",
        )
    return table
