"""Adapt classifiers: `python tools/adapt_classifier.py MODEL --weights FILE --images DIR`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uda.commands._parser import command_parser
from uda.commands._progress import ProgressLine
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "adapt_classifier",
        description="Accuracy of methods of test-time adaptation on corrupted images, each batch "
        "scored by the prediction made when it came.",
        example="tf_efficientnet_lite0 --weights "
        "efficientnet-lite0 --images DIR --methods source bn rpl --corruptions contrast fog",
    )
    add = command.add_argument
    add("model", help="name of a timm classifier")
    add("--weights", required=True, help="a file, or efficientnet-lite0 (an installed package)")
    add("--images", required=True, metavar="DIR", help="a folder a class, or images with --labels")
    add("--labels", metavar="CSV", help="columns file and index")
    add(
        "--methods",
        nargs="+",
        default=["source", "bn", "tent", "rpl"],
        metavar="NAME",
        help="of uda.tta; source: none",
    )
    add("--corruptions", nargs="+", default=["none"], metavar="NAME", help="none: as they are")
    add("--severity", type=int, default=5, choices=range(1, 6), help="of a corruption (5)")
    add("--batch-size", type=int, default=50, metavar="N", help="images in a batch (50)")
    add("--size", type=int, help="height and width of images (default: the model's)")
    add("--limit", type=int, help="only so many images, drawn by the seed")
    add("--lr", type=float, help="default: the method's, by architecture and batch")
    add("--statistics", help="of batch normalisation (default: the method's)")
    add(
        "--protocol",
        default="online",
        choices=("online", "episodic", "continual"),
        help="of uda.tta; each corruption starts anew (online)",
    )
    add("--no-guard", action="store_true", help="let adaptation run unwatched")
    add("--source-batches", type=int, default=10, help="uncorrupted batches that eata may read")
    add("--seed", type=int, default=0, metavar="N", help="of all draws (0)")
    add("--threads", type=int, help="threads of torch (default: its own choice)")
    add("--device", help="such as cpu or cuda:1 (default: cuda where there is one)")
    add("--out", metavar="FILE", help="write all results as JSON, after each corruption")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """A row for each corruption and method."""
    options = parser().parse_args(argv)
    import numpy as np
    import torch

    from uda.engine.classifier_stream import labelled_images, load_classifier, normalisation_of
    from uda.files import write_atomically

    if options.threads:
        torch.set_num_threads(options.threads)
    model = load_classifier(options.model, options.weights).to(device_of(options.device))
    images = labelled_images(options.images, options.labels)
    order = np.random.default_rng(options.seed).permutation(len(images))[: options.limit]
    chosen = [images[i] for i in order]
    reading = {**normalisation_of(model), "seed": options.seed, "batch_size": options.batch_size}
    if options.size:
        reading["size"] = options.size
    runs = runs_of(options, chosen, reading)
    results: list[dict[str, Any]] = []
    for corruption in options.corruptions:
        results += rows_of(options, model, chosen, corruption, runs, reading)
        if options.out:  # now, so that a run that is stopped has something to show
            record = {"settings": vars(options), "results": results}
            write_atomically(options.out, json.dumps(record, indent=2, default=str).encode())
    if options.out:
        print(f"results in {Path(options.out)}")


def device_of(name: str | None) -> Any:
    """The device to work on; ValueError where there is no such device."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name} is no device: give cpu, cuda or cuda:1.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch sees no CUDA device here; give cpu.")
    return device


def runs_of(
    options: argparse.Namespace, images: list[Any], reading: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Settings by method."""
    from uda.engine.classifier_stream import stream

    common: dict[str, Any] = {"guard": not options.no_guard, "protocol": options.protocol}
    given = {"lr": options.lr, "statistics": options.statistics}
    common.update({name: value for name, value in given.items() if value is not None})
    runs = {method: dict(common) for method in options.methods}
    if "eata" in runs:
        clean = stream(images, corruption=None, severity=1, **reading)
        pairs = zip(range(options.source_batches), clean, strict=False)
        runs["eata"]["source_batches"] = [batch for _, (batch, _) in pairs]
    return runs


def rows_of(
    options: argparse.Namespace,
    model: Any,
    images: list[Any],
    corruption: str,
    runs: dict[str, dict[str, Any]],
    reading: dict[str, Any],
) -> list[dict[str, Any]]:
    """All methods on one corruption, whose images are made once; a line for each is printed."""
    from uda.engine.classifier_stream import prequential_accuracy, stream

    name = None if corruption == "none" else corruption
    batches = stream(images, corruption=name, severity=options.severity, **reading)
    line = ProgressLine(len(images), corruption)
    found = prequential_accuracy(model, runs, batches, progress=line)
    line.close()
    for method, row in found.items():
        print(f"{corruption:18} {method:8} {row['accuracy']:5.1f} %", flush=True)
    return [{"corruption": corruption, "method": method, **row} for method, row in found.items()]
