"""Score a checkpoint: `python tools/test.py CONFIG CHECKPOINT`."""

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
        "test",
        description="Score a checkpoint on labelled images, or write predictions of unlabelled.",
        example="configs/daformer/camvid_day2dusk_daformer.py "
        "work_dirs/camvid_day2dusk_daformer/deploy/student.pth --on day dusk",
    )
    add = command.add_argument
    add("config", help="the config the checkpoint was trained with")
    add("checkpoint", help="full or deploy checkpoint")
    add(
        "--network", choices=("student", "teacher"),
        help="default: the student of a full checkpoint, the one that a deploy checkpoint holds",
    )  # fmt: skip
    add("--on", nargs="+", default=[None], metavar="SET", help="evaluation sets of the config")
    add("--classes", choices=("19", "16", "13"), help="mean over a subset of Cityscapes' classes")
    add("--save-predictions", metavar="D", help="write train id PNGs to D/NETWORK")
    add("--format-only", action="store_true", help="no scores, only --save-predictions: for sets "
        "without labels")  # fmt: skip
    add("--out", metavar="FILE", help="write metrics and confusion matrix as JSON")
    add("--seed", type=int, help="noted in --out, for tables over seeds")
    add("--slide", nargs=2, type=int, metavar=("H", "W"), help="predict by windows of this size "
        "(default: as the config's test_cfg says)")  # fmt: skip
    add("--stride", nargs=2, type=int, metavar=("H", "W"), help="steps of --slide (default: two "
        "thirds of the window)")  # fmt: skip
    add("--window-batch", type=int, default=1, metavar="N", help="windows of --slide that go "
        "through the network together")  # fmt: skip
    add("--test-time-augmentation", nargs="+", type=float, default=[], metavar="SCALE",
        help="mean over these scales of the image")  # fmt: skip
    add("--flip", action="store_true", help="and over its mirror image")
    add("--target-statistics", nargs="?", const="", metavar="FOLDER", help="first estimate batch "
        "normalisation on the images of a folder, or on the config's target training images "
        "(AdaBN); needs no label")  # fmt: skip
    add("--workers", type=int, default=1, metavar="N", help="processes that read images (1)")
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
    if options.format_only and not options.save_predictions:
        command.error(
            "--format-only writes predictions and nothing else: give --save-predictions D"
        )
    if options.format_only and (options.out or options.classes):
        command.error("--format-only computes no scores: leave out --out and --classes")
    if options.window_batch > 1 and not options.slide:
        command.error("--window-batch goes with --slide; a network that slides by itself has "
                      "test_cfg.window_batch in its config")  # fmt: skip
    if options.stride and not options.slide:
        command.error("--stride is the step of sliding windows: give their size by --slide H W")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Score, or write predictions, on each set."""
    options = parsed(argv)
    from mmengine.logging import MMLogger

    from uda.engine.evaluate import adapt_statistics, evaluation_dataset, load_network
    from uda.engine.inference import slide
    from uda.engine.train import load_config

    if not MMLogger.check_instance_created("test"):
        MMLogger.get_instance("test", logger_name="test")
    config = load_config(options.config, options.cfg_options)
    # All sets are looked up first: a wrong name must not cost the scores of those before it.
    labelled = not options.format_only
    sets = {name: evaluation_dataset(config, name, labelled=labelled) for name in options.on}
    network = load_network(config, options.checkpoint, options.network)
    if options.target_statistics is not None:
        adapt_statistics(network, config, folder=options.target_statistics or None)
    if options.slide:
        stride = options.stride and tuple(options.stride)
        slide(network.segmentor, tuple(options.slide), stride, batch=options.window_batch)
    for name, dataset in sets.items():
        print(f"{network.name} of {options.checkpoint} on {name or 'the validation set'}")
        if options.format_only:
            write(options, network, name, dataset)
        else:
            score(options, network, name, dataset)


def score(
    options: argparse.Namespace, network: Any, name: str | None, dataset: dict[str, Any]
) -> None:
    """Scores of one set: printed, and written if asked for."""
    from uda.engine.evaluate import evaluate
    from uda.evaluation import SegmentationMetric, named_subsets, write_metrics

    metric = SegmentationMetric(
        subsets=(options.classes,) if options.classes else (),
        save_predictions=predictions_folder(options, name),
    )
    result = evaluate(network, dataset, metric=metric, **prediction(options))
    mean = f"mIoU{options.classes or ''}"
    print(f"{mean} {result.metrics[mean]:.2f} % over {result.images} images")
    if options.out:
        write_metrics(
            out_file(options.out, name, several=len(options.on) > 1),
            {f"{network.name}/{key}": value for key, value in result.metrics.items()},
            {network.name: result.matrix},
            result.classes,
            context(options, network.name, name, result.images),
            subsets=named_subsets(metric.subsets, result.classes),
        )


def write(
    options: argparse.Namespace, network: Any, name: str | None, dataset: dict[str, Any]
) -> None:
    """Predictions of one set."""
    from uda.engine.evaluate import write_predictions

    folder = Path(options.save_predictions, name or "")
    images = write_predictions(network, dataset, folder=folder, **prediction(options))
    print(f"{images} predictions in {folder / network.name}")


def prediction(options: argparse.Namespace) -> dict[str, Any]:
    """How images are read and predicted."""
    return {
        "workers": options.workers,
        "scales": options.test_time_augmentation,
        "flip": options.flip,
    }


def predictions_folder(options: argparse.Namespace, name: str | None) -> str | None:
    """Where the predictions of a set go: a set of its own name gets a folder of its own."""
    folder = options.save_predictions
    return str(Path(folder, name)) if folder and name else folder


def context(
    options: argparse.Namespace, network: str, name: str | None, images: int
) -> dict[str, Any]:
    """What a metrics file says about its origin."""
    adapted = " + target statistics" if options.target_statistics is not None else ""
    return {
        "experiment": Path(options.config).stem + adapted,
        "seed": options.seed,
        "dataset": name or "validation",
        "network": network,
        "checkpoint": str(options.checkpoint),
        "images": images,
        "slide": options.slide,
        "stride": options.stride,
        "scales": options.test_time_augmentation,
        "flip": options.flip,
        "target_statistics": options.target_statistics,
    }


def out_file(out: str, name: str | None, *, several: bool) -> Path:
    """Where the metrics of one set go: the set's name joins the file's if there are several."""
    path = Path(out)
    return path.with_name(f"{path.stem}_{name}{path.suffix}") if several else path
