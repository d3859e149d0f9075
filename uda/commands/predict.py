"""Predict images or a video: `python tools/predict.py CONFIG CHECKPOINT INPUT --out DIR`."""

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
        "predict",
        description="Predict an image, a folder of images or a video. Started again, it goes on "
        "where it was stopped.",
        example="configs/daformer/toycity_daformer.py "
        "work_dirs/toycity_daformer/deploy/student.pth street.png --out predictions",
    )
    add = command.add_argument
    add("config", help="the config the checkpoint was trained with")
    add("checkpoint", help="full or deploy checkpoint")
    add("input", help="image, folder (with subfolders) or video")
    add("--out", required=True, metavar="DIR", help="gets train_ids/, overlay/ and the benchmark's "
        "folder")  # fmt: skip
    add("--network", choices=("student", "teacher"), help="default: the student of a full "
        "checkpoint, the one that a deploy checkpoint holds")  # fmt: skip
    add("--benchmark", choices=("cityscapes", "acdc", "dark_zurich"), help="also write what its "
        "server asks for, to DIR/BENCHMARK")  # fmt: skip
    add("--no-overlay", action="store_true", help="train ids alone, no pictures")
    add("--opacity", type=float, default=0.55, help="of the colours, 0 to 1 (%(default)s)")
    add("--slide", nargs=2, type=int, metavar=("H", "W"), help="predict by windows of this size "
        "(default: as the config's test_cfg says)")  # fmt: skip
    add("--stride", nargs=2, type=int, metavar=("H", "W"), help="steps of --slide (default: two "
        "thirds of the window)")  # fmt: skip
    add("--test-time-augmentation", nargs="+", type=float, default=[], metavar="SCALE",
        help="mean over these scales of the image")  # fmt: skip
    add("--flip", action="store_true", help="and over its mirror image")
    add("--target-statistics", nargs="?", const="", metavar="FOLDER", help="first estimate batch "
        "normalisation on the images of a folder, or on the config's target images")  # fmt: skip
    add("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE",
        help="change values of the config")  # fmt: skip
    return command


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, checked against each other."""
    command = parser()
    options = command.parse_args(argv)
    if options.stride and not options.slide:
        command.error("--stride is the step of sliding windows: give their size by --slide H W")
    if not 0 <= options.opacity <= 1:
        command.error(f"--opacity has to lie between 0 and 1, got {options.opacity}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Predict."""
    options = parsed(argv)
    from mmengine.logging import MMLogger

    from uda.engine.class_names import classes_of
    from uda.engine.evaluate import adapt_statistics, load_network
    from uda.engine.image_prediction import Predictor
    from uda.engine.inference import slide
    from uda.engine.predict_files import predict_files
    from uda.engine.prediction_inputs import find_inputs
    from uda.engine.prediction_output import PredictionFolder
    from uda.engine.train import load_config
    from uda.evaluation.benchmark_formats import BENCHMARKS, check_classes
    from uda.reports.overlay import Overlay

    if not MMLogger.check_instance_created("predict"):
        MMLogger.get_instance("predict", logger_name="predict")
    inputs = find_inputs(options.input)  # before seconds of building the network
    config = load_config(options.config, options.cfg_options)
    network = load_network(config, options.checkpoint, options.network)
    segmentor: Any = network.segmentor
    classes = classes_of(config, segmentor.num_classes)
    benchmark = None
    if options.benchmark:
        check_classes(classes.names)
        benchmark = (options.benchmark, BENCHMARKS[options.benchmark])
    if options.target_statistics is not None:
        adapt_statistics(network, config, folder=options.target_statistics or None)
    if options.slide:
        slide(segmentor, tuple(options.slide), options.stride and tuple(options.stride))
    overlay = Overlay(classes.names, classes.palette, opacity=options.opacity)
    folder = PredictionFolder(
        options.out,
        settings=settings(options, network.name, classes.names),
        overlay=None if options.no_overlay else overlay,
        benchmark=benchmark,
    )
    predictor = Predictor(network, config, scales=options.test_time_augmentation, flip=options.flip)
    done = predict_files(predictor, inputs, folder, video_overlay=overlay, progress=told)
    frames = f", {done.frames} frames" if done.frames else ""
    print(
        f"{network.name} of {options.checkpoint}: {done.written} predicted{frames}, "
        f"{done.skipped} were there; see {options.out}"
    )


def settings(options: argparse.Namespace, network: str, classes: Sequence[str]) -> dict[str, Any]:
    """What the predictions of a folder depend on."""
    from uda.engine.checkpoint_files import digest

    return {
        "config": Path(options.config).name,
        "cfg_options": {key: str(value) for key, value in (options.cfg_options or {}).items()},
        "checkpoint": Path(options.checkpoint).name,
        "checkpoint_sha256": digest(Path(options.checkpoint)),
        "network": network,
        "classes": list(classes),
        "slide": options.slide,
        "stride": options.stride,
        "scales": options.test_time_augmentation,
        "flip": options.flip,
        "target_statistics": options.target_statistics,
        "opacity": options.opacity,
    }


def told(line: str) -> None:
    """Show how far it is, at once."""
    print(line, flush=True)
