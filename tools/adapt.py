"""Adapt a segmentor to a stream: `python tools/adapt.py CONFIG CHECKPOINT --stream FOLDER`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Predict the images of a folder in order of names and adapt to them; beside it "
        "the unadapted model, and the method reset at intervals.",
        epilog="example: python tools/adapt.py configs/daformer/camvid_day2dusk_daformer.py "
        "work_dirs/camvid_day2dusk_daformer/deploy/student.pth --method rpl --stream FOLDER",
    )
    add = parser.add_argument
    add("config", help="the config the checkpoint was trained with")
    add("checkpoint", help="full or deploy checkpoint")
    add("--network", choices=("student", "teacher"))
    add("--method", default="rpl", metavar="NAME")
    add("--stream", required=True, metavar="FOLDER", help="images, in order of their names")
    add(
        "--labels",
        metavar="FOLDER",
        help="labels as the config's validation set has them: gives the mIoU",
    )
    add("--image-suffix", metavar="TEXT", help="ending of image names")
    add("--label-suffix", metavar="TEXT", help="what stands in its place in a label's name")
    add("--protocol", default="continual", choices=("continual", "online", "episodic"))
    add("--lr", type=float, help="default: the method's")
    add("--statistics", help="of batch normalisation (default: the method's)")
    add("--every", type=int, default=1, help="adapt to every k-th image")
    add("--skip-reliable", type=float, help="leave out images whose entropy, as a share of log K, "
        "is below")  # fmt: skip
    add("--max-pixels", type=int, help="pixels that enter a loss")
    add("--class-balance", type=float, default=0.0)
    add("--no-guard", action="store_true", help="let adaptation run unwatched")
    add("--reset-every", type=int, default=100, help="images between resets of the baseline")
    add("--slide", nargs=2, type=int, metavar=("H", "W"), help="predict by windows of this size")
    add("--stride", nargs=2, type=int, metavar=("H", "W"))
    add("--workers", type=int, default=1)
    add("--seed", type=int, default=0)
    add("--out", metavar="FILE", help="write all results as JSON")
    options = parser.parse_args(arguments)
    if options.stride and not options.slide:
        parser.error("--stride is the step of sliding windows: give their size by --slide H W")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Three runs over the stream."""
    options = parse_arguments(arguments)
    from mmengine.logging import MMLogger

    from uda.engine.evaluate import load_network
    from uda.engine.inference import slide
    from uda.engine.segmentor_stream import run_stream, stream_dataset
    from uda.engine.train import load_config
    from uda.files import write_atomically

    if not MMLogger.check_instance_created("adapt"):
        MMLogger.get_instance("adapt", logger_name="adapt")
    config = load_config(options.config)
    suffixes = {"image_suffix": options.image_suffix, "label_suffix": options.label_suffix}
    dataset = stream_dataset(config, options.stream, options.labels, **suffixes)
    network = load_network(config, options.checkpoint, options.network)
    segmentor: Any = network.segmentor
    meta = getattr(segmentor, "dataset_meta", None) or {}
    dataset["classes"] = meta.get("classes") or classes_of(config, segmentor.num_classes)
    if options.slide:
        slide(segmentor, tuple(options.slide), options.stride and tuple(options.stride))
    runs = {"unadapted": (None, None), options.method: (options.method, None)}
    if options.protocol != "episodic":
        runs["with resets"] = (options.method, options.reset_every)
    results = {}
    for name, (method, resets) in runs.items():
        results[name] = run_stream(
            segmentor, dataset, method, reset_every=resets, workers=options.workers,
            settings=settings_of(options),
        )  # fmt: skip
        print(line_of(name, results[name]), flush=True)
    if options.out:
        record = {"settings": vars(options), "network": network.name, "results": results}
        write_atomically(options.out, json.dumps(record, indent=2, default=str).encode())


def classes_of(config: Any, number: int) -> list[str]:
    """Class names of the validation data, or numbers where it names none."""
    loader = config.get("val_dataloader")
    names = None if loader is None else loader.dataset.get("classes")
    return list(names) if names else [str(index) for index in range(number)]


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What `uda.tta.adapt` is told."""
    given = {
        "lr": options.lr,
        "statistics": options.statistics,
        "skip_reliable": options.skip_reliable,
        "max_pixels": options.max_pixels,
    }
    return {
        "protocol": options.protocol,
        "every": options.every,
        "class_balance": options.class_balance,
        "guard": not options.no_guard,
        "seed": options.seed,
        **{name: value for name, value in given.items() if value is not None},
    }


def line_of(name: str, result: dict[str, Any]) -> str:
    """One run in one line."""
    score = "" if result["mIoU"] is None else f"mIoU {result['mIoU']:6.2f} %  "
    times = f"p50 {result['latency_p50_ms']:.0f} ms  p95 {result['latency_p95_ms']:.0f} ms"
    guard = (result["report"] or {}).get("guard")
    rolled = f"  {guard['rollbacks']} rollbacks" if guard else ""
    return f"{name:12} {score}{times}{rolled}"


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        from uda.engine.failures import explained

        told = explained(error)
        if told is None:
            raise
        sys.exit(told)
