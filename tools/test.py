"""Score a checkpoint: `python tools/test.py CONFIG CHECKPOINT`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(
        description="Score a checkpoint on labelled images.",
        epilog="example: python tools/test.py configs/daformer/camvid_day2dusk_daformer.py "
        "work_dirs/camvid_day2dusk_daformer/deploy/student.pth --on day dusk",
    )
    parser.add_argument("config", help="the config the checkpoint was trained with")
    parser.add_argument("checkpoint", help="full or deploy checkpoint")
    parser.add_argument("--network", choices=("student", "teacher"), default="student")
    parser.add_argument("--on", nargs="+", default=[None], metavar="SET", help="evaluation sets")
    parser.add_argument(
        "--classes", choices=("19", "16", "13"), help="mean over a subset of Cityscapes' classes"
    )
    parser.add_argument("--save-predictions", metavar="D", help="write train id PNGs there")
    parser.add_argument("--out", metavar="FILE", help="write metrics and confusion matrix as JSON")
    parser.add_argument("--seed", type=int, help="noted in --out, for tables over seeds")
    parser.add_argument(
        "--test-time-augmentation", nargs="+", type=float, default=[], metavar="SCALE",
        help="mean over these scales of the image",
    )  # fmt: skip
    parser.add_argument("--flip", action="store_true", help="and over its mirror image")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE")
    return parser.parse_args(arguments)


def main() -> None:
    """Score."""
    arguments = parse_arguments()
    from mmengine.logging import MMLogger

    from uda.engine.evaluate import evaluate, evaluation_dataset, load_network
    from uda.engine.train import load_config
    from uda.evaluation import SegmentationMetric, write_metrics

    MMLogger.get_instance("test", logger_name="test")
    config = load_config(arguments.config, arguments.cfg_options)
    segmentor = load_network(config, arguments.checkpoint, arguments.network)
    for name in arguments.on:
        options: dict[str, Any] = {}
        if arguments.classes not in (None, "19"):
            options["subsets"] = (int(arguments.classes),)
        if arguments.save_predictions:
            folder = Path(arguments.save_predictions)
            options["save_predictions"] = str(folder / name if name else folder)
        metric = SegmentationMetric(**options)
        print(f"{arguments.network} of {arguments.checkpoint} on {name or 'the validation set'}")
        result = evaluate(
            segmentor,
            evaluation_dataset(config, name),
            metric=metric,
            workers=arguments.workers,
            scales=arguments.test_time_augmentation,
            flip=arguments.flip,
        )
        subset = f"mIoU{arguments.classes}" if options.get("subsets") else "mIoU"
        print(f"{subset} {result.metrics[subset]:.2f} % over {result.images} images")
        if arguments.out:
            write_metrics(
                out_file(arguments.out, name, several=len(arguments.on) > 1),
                {f"{arguments.network}/{key}": value for key, value in result.metrics.items()},
                {arguments.network: result.matrix},
                result.classes,
                context(arguments, name, result.images),
            )


def context(arguments: argparse.Namespace, name: str | None, images: int) -> dict[str, Any]:
    """What a metrics file says about its origin."""
    return {
        "experiment": Path(arguments.config).stem,
        "seed": arguments.seed,
        "dataset": name or "validation",
        "network": arguments.network,
        "checkpoint": str(arguments.checkpoint),
        "images": images,
    }


def out_file(out: str, name: str | None, *, several: bool) -> Path:
    """Where the metrics of one set go: the set's name joins the file's if there are several."""
    path = Path(out)
    return path.with_name(f"{path.stem}_{name}{path.suffix}") if several else path


if __name__ == "__main__":
    try:
        main()
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
