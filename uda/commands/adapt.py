"""Adapt a segmentor to a stream: `python tools/adapt.py CONFIG CHECKPOINT --stream FOLDER`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uda.commands._parser import command_parser, further_options
from uda.commands._progress import ProgressLine
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "adapt",
        description="Predict the images of a folder or a video in order and adapt to them; beside "
        "it the unadapted model, and the method reset at intervals, on the same images.",
        example="configs/daformer/camvid_day2dusk_daformer.py "
        "work_dirs/camvid_day2dusk_daformer/deploy/student.pth --method rpl --stream FOLDER "
        "--report report.html",
    )
    add = command.add_argument
    add("config", help="the config the checkpoint was trained with")
    add("checkpoint", help="full or deploy checkpoint")
    add("--network", choices=("student", "teacher"), help="of a full checkpoint (the student)")
    add("--method", nargs="+", default=["rpl"], metavar="NAME", help="one or several (rpl)")
    add("--stream", metavar="FOLDER|VIDEO", help="images in order of their names, or a video "
        "(default: the domains in the config's `stream`)")  # fmt: skip
    add("--labels", metavar="FOLDER", help="as the validation set has them: gives the mIoU")
    add("--rounds", type=int, metavar="N", help="how often the stream comes (the config's, or 1)")
    add("--limit", type=int, metavar="N", help="the first N images of each domain")
    add("--batch-size", type=int, default=1, metavar="N", help="images in a call, of one size (1)")
    add("--slide", nargs=2, type=int, metavar=("H", "W"), help="predict by windows of this size")
    add("--stride", nargs=2, type=int, metavar=("H", "W"), help="steps of the windows")
    add("--out", metavar="FILE", help="write all results as JSON")
    add("--report", metavar="FILE", help="write a page with curves and pictures (HTML)")
    add_settings(command)
    add_further(further_options(command))
    return command


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked against each other."""
    command = parser()
    options = command.parse_args(argv)
    if options.stride and not options.slide:
        command.error("--stride is the step of sliding windows: give their size by --slide H W")
    if options.labels and not options.stream:
        command.error("--labels belong to the images of --stream FOLDER: give both")
    if "eata" in options.method and not options.source:
        command.error("eata weighs weights by images of the source domain: give --source FOLDER "
                      "(they need no labels), or take eta")  # fmt: skip
    numbers = ("rounds", "limit", "batch_size", "reset_every", "epochs", "panels", "source_images")
    for name in numbers:
        if getattr(options, name) is not None and getattr(options, name) < 1:
            command.error(f"--{name.replace('_', '-')} is at least 1")
    return options


def add_settings(command: argparse.ArgumentParser) -> None:
    """Options of the adaptation that most people need."""
    add = command.add_argument
    add("--protocol", default="continual", choices=("continual", "online", "episodic", "offline"),
        help="never reset (default); reset where a domain begins; reset before each call; adapt "
        "to the whole stream, then predict it")  # fmt: skip
    add("--settings", choices=("dense", "published"), default="dense", help="dense: those of "
        "uda.tta.dense_settings (default); published: the method's own")  # fmt: skip
    add("--lr", type=float, metavar="X", help="learning rate, in place of that of --settings")
    add("--no-guard", action="store_true", help="let adaptation run unwatched")
    add("--seed", type=int, default=0, metavar="N", help="of all draws (0)")


def add_further(group: argparse._ArgumentGroup) -> None:
    """Options for those who compare settings."""
    add = group.add_argument
    add("--image-suffix", metavar="TEXT", help="ending of image names")
    add("--label-suffix", metavar="TEXT", help="what stands in its place in a label's name")
    add("--source", metavar="FOLDER", help="images of the source domain, without labels, which "
        "eata needs")  # fmt: skip
    add("--source-images", type=int, default=500, metavar="N", help="at most so many of them (500)")
    add("--epochs", type=int, default=1, metavar="N", help="passes of the protocol offline (1)")
    add("--optimiser", choices=("sgd", "adam"), help="in place of that of --settings")
    add("--statistics", metavar="KIND", help="of batch normalisation, the same way")
    add("--class-balance", type=float, metavar="X", help="weight against large classes, likewise")
    add("--skip-reliable", type=float, metavar="X", help="leave out images whose entropy, as a "
        "share of log K, is below X")  # fmt: skip
    add("--max-pixels", type=int, metavar="N", help="pixels that enter a loss")
    add("--confidence", type=float, default=0.0, metavar="X", help="least confidence of a pixel in "
        "a loss (0)")  # fmt: skip
    add("--every", type=int, default=1, metavar="K", help="adapt to every K-th call (1)")
    add(
        "--precision",
        choices=("full", "bfloat16", "float16"),
        default="full",
        help="of the passes (full)",
    )
    add("--reset-every", type=int, default=100, metavar="N", help="images between resets of the "
        "baseline (100)")  # fmt: skip
    add("--workers", type=int, default=1, metavar="N", help="processes that read images (1)")
    add("--threads", type=int, metavar="N", help="threads of torch (default: its own choice)")
    add("--panels", type=int, default=6, metavar="N", help="images the report shows, about (6)")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Up to three models over one stream."""
    options = parsed(argv)
    import torch
    from mmengine.logging import MMLogger

    from uda.engine.evaluate import load_network
    from uda.engine.inference import slide
    from uda.engine.segmentor_stream import run_stream
    from uda.engine.stream_report import stream_page
    from uda.engine.train import load_config
    from uda.files import write_atomically
    from uda.reports import write_page

    if not MMLogger.check_instance_created("adapt"):
        MMLogger.get_instance("adapt", logger_name="adapt")
    if options.threads:
        torch.set_num_threads(options.threads)
    config = load_config(options.config)
    network = load_network(config, options.checkpoint, options.network)
    segmentor: Any = network.segmentor
    meta = getattr(segmentor, "dataset_meta", None) or {}
    classes = meta.get("classes") or classes_of(config, segmentor.num_classes)
    domains, rounds = domains_of(options, config, classes)
    if options.slide:
        slide(segmentor, tuple(options.slide), options.stride and tuple(options.stride))
    line = ProgressLine(None, " ".join(options.method))
    result = run_stream(
        segmentor, domains, runs_of(options, source_of(options, config, classes, segmentor)),
        rounds=rounds, batch_size=options.batch_size, workers=options.workers,
        panels=options.panels if options.report else 0,
        progress=lambda done, scores: line(done, scores_of(scores)),
    )  # fmt: skip
    line.close()
    for line_of_run in lines_of(result.runs):
        print(line_of_run)
    if options.out:
        record = {"settings": vars(options), "network": network.name, "results": result.runs}
        write_atomically(options.out, json.dumps(record, indent=2, default=str).encode())
    if options.report:
        settings = {**vars(options), "network": network.name}
        page = stream_page(
            result, settings=settings, classes=domains[0].classes, palette=domains[0].palette
        )
        write_page(page, options.report)
        print(f"report in {options.report}")


def classes_of(config: Any, number: int) -> list[str]:
    """Class names of the validation data, or numbers where it names none."""
    loader = config.get("val_dataloader")
    names = None if loader is None else loader.dataset.get("classes")
    return list(names) if names else [str(index) for index in range(number)]


def domains_of(options: argparse.Namespace, config: Any, classes: list[str]) -> tuple[Any, int]:
    """Where images come from, and how often."""
    from uda.engine.stream_sources import (
        FolderDomain,
        config_domains,
        stream_dataset,
        video_domain,
    )

    if options.stream is None:
        listed, rounds = config_domains(config, classes, options.limit)
        return listed, options.rounds or rounds
    if Path(options.stream).is_file():
        if options.labels:
            raise ValueError("A video has no labels: give its frames as a folder of images.")
        return [video_domain(config, options.stream, classes, options.limit)], options.rounds or 1
    suffixes = {"image_suffix": options.image_suffix, "label_suffix": options.label_suffix}
    dataset = stream_dataset(config, options.stream, options.labels, **suffixes)
    dataset["classes"] = classes
    domain = FolderDomain(Path(options.stream).resolve().name, dataset, options.limit)
    return [domain], options.rounds or 1


def source_of(
    options: argparse.Namespace, config: Any, classes: list[str], segmentor: Any
) -> Any | None:
    """Batches of the images of --source, or None."""
    from uda.engine.segmentor_stream import SourceImages
    from uda.engine.stream_sources import FolderDomain, stream_dataset

    if options.source is None:
        return None
    dataset = stream_dataset(config, options.source, image_suffix=options.image_suffix)
    dataset["classes"] = classes
    domain = FolderDomain("source", dataset, options.source_images)
    return SourceImages(segmentor, domain, workers=options.workers)


def scores_of(scores: Mapping[str, float | None]) -> str:
    """The running mIoU of each participant in a few words."""
    known = [f"{name} {score:.1f}" for name, score in scores.items() if score is not None]
    return f"mIoU of the last images: {', '.join(known)}" if known else ""


def runs_of(options: argparse.Namespace, source: Any | None = None) -> dict[str, Any]:
    """The unadapted model, the methods, and the first with resets where that is another thing."""
    from uda.engine.stream_participant import Run

    runs = {"unadapted": Run(None)}
    for method in options.method:
        settings = settings_of(options, method, source)
        runs[method] = Run(method, settings=settings, epochs=options.epochs)
    if options.protocol in ("continual", "online"):
        first = options.method[0]
        runs["with resets"] = Run(first, options.reset_every, settings_of(options, first, source))
    return runs


def settings_of(
    options: argparse.Namespace, method: str, source: Any | None = None
) -> dict[str, Any]:
    """What `uda.tta.adapt` is told."""
    from uda.tta import dense_settings

    given = {
        name: getattr(options, name)
        for name in (
            "lr", "optimiser", "statistics", "skip_reliable", "max_pixels", "class_balance"
        )
    }  # fmt: skip
    return {
        "protocol": options.protocol,
        "every": options.every,
        "confidence": options.confidence,
        "precision": options.precision,
        "guard": not options.no_guard,
        "seed": options.seed,
        **({"source_batches": source} if method == "eata" else {}),
        **(dense_settings(method) if options.settings == "dense" else {}),
        **{name: value for name, value in given.items() if value is not None},
    }


def lines_of(runs: dict[str, Any]) -> list[str]:
    """A line for each run, and below one for each visit to a domain, where there are several."""
    lines = [line_of(name, result) for name, result in runs.items()]
    visits = next(iter(runs.values()))["visits"]
    if len(visits) > 1 and any(visit["mIoU"] is not None for visit in visits):
        lines.append(f"{'mIoU (%)':20}" + "".join(f"{name:>13}" for name in runs))
        for number, visit in enumerate(visits):
            scores = [run["visits"][number]["mIoU"] for run in runs.values()]
            shown = ["-" if score is None else f"{score:.2f}" for score in scores]
            place = f"{visit['round']:>3} {visit['domain']}"
            lines.append(f"{place:20}" + "".join(f"{text:>13}" for text in shown))
    return lines


def line_of(name: str, result: dict[str, Any]) -> str:
    """One run in one line."""
    score = "" if result["mIoU"] is None else f"mIoU {result['mIoU']:6.2f} %  "
    times = (
        f"p50 {result['latency_p50_ms'] or 0:.0f} ms  p95 {result['latency_p95_ms'] or 0:.0f} ms"
    )
    memory = result["peak_memory_mib"]
    held = "" if memory is None else f"  {memory:.0f} MiB"
    guard = (result["report"] or {}).get("guard")
    rolled = f"  {guard['rollbacks']} rollbacks" if guard else ""
    return f"{name:12} {score}{times}{held}{rolled}"
