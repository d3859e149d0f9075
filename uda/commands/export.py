"""Write a network as ONNX or torch.export: `python tools/export.py CONFIG CHECKPOINT --out F`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def image_size(text: str) -> tuple[int, int]:
    """Height and width of a size written as HxW.

    >>> image_size("240x320")
    (240, 320)
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"size has to be HxW, for example 512x1024: {text!r}")
    return int(parts[0]), int(parts[1])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from uda._options import ConfigOptions

    command = command_parser(
        "export",
        description="Write a trained network as a file that needs nothing of this project. It is "
        "run and compared with the PyTorch model first; a graph that differs is not written.",
        example="configs/daformer/toycity_daformer.py "
        "work_dirs/toycity_daformer/deploy/student.pth --size 256x320 --out toycity.onnx",
    )
    add = command.add_argument
    add("config", help="the config the checkpoint was trained with")
    add("checkpoint", help="full or deploy checkpoint")
    add("--out", required=True, metavar="FILE", help="the file to write")
    add("--size", required=True, type=image_size, metavar="HxW", help="of images as the network "
        "sees them, after the config's resizing")  # fmt: skip
    add("--format", choices=("onnx", "torch"), default="onnx", help="onnx (default), or torch: "
        "torch.export, to be read by torch.export.load")  # fmt: skip
    add("--network", choices=("student", "teacher"), help="default: the student of a full "
        "checkpoint, the one that a deploy checkpoint holds")  # fmt: skip
    add("--raw-input", action="store_true", help="the file takes RGB in 0..255 and normalises; "
        "default: normalised images")  # fmt: skip
    add("--dynamic", choices=("none", "batch", "size"), default="batch", help="what may differ "
        "from call to call: nothing, the number of images (default), or also their size in "
        "multiples of 32 from 64 on")  # fmt: skip
    add("--batch", type=int, default=1, help="images in a call, with --dynamic none (1)")
    add("--opset", type=int, default=20, help="of ONNX, 18 or higher (%(default)s)")
    add("--tolerance", type=float, default=1e-4, help="largest absolute difference of logits "
        "(%(default)s)")  # fmt: skip
    add("--target-statistics", nargs="?", const="", metavar="FOLDER", help="first estimate batch "
        "normalisation on the images of a folder, or on the config's target images")  # fmt: skip
    add("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE",
        help="change values of the config")  # fmt: skip
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 written, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Export."""
    options = parser().parse_args(argv)
    from mmengine.logging import MMLogger

    from uda.engine.class_names import classes_of
    from uda.engine.evaluate import adapt_statistics, load_network
    from uda.engine.export import ExportSettings, export_network
    from uda.engine.export_metadata import export_metadata, normalisation
    from uda.engine.train import load_config

    if not MMLogger.check_instance_created("export"):
        MMLogger.get_instance("export", logger_name="export")
    settings = ExportSettings(
        size=options.size,
        format=options.format,
        batch=options.batch,
        dynamic=options.dynamic,
        raw_input=options.raw_input,
        opset=options.opset,
        tolerance=options.tolerance,
    )
    config = load_config(options.config, options.cfg_options)
    mean, std = normalisation(config)
    network = load_network(config, options.checkpoint, options.network)
    if options.target_statistics is not None:
        adapt_statistics(network, config, folder=options.target_statistics or None)
    segmentor: Any = network.segmentor
    classes = classes_of(config, int(segmentor.num_classes))
    metadata = export_metadata(
        config, classes, checkpoint=options.checkpoint, network=network.name, settings=settings
    )
    done = export_network(
        segmentor, options.out, mean=mean, std=std, settings=settings, metadata=metadata
    )
    kind = f"ONNX opset {settings.opset}" if settings.format == "onnx" else "torch.export"
    print(f"{network.name} of {options.checkpoint} as {kind}: {done.file} ({done.size:,} bytes)")
    print(
        f"largest absolute difference of logits from PyTorch {done.difference:.2e} (tolerance "
        f"{settings.tolerance:.0e}), class of {done.changed:.4%} of the pixels, over images of "
        f"{', '.join('x'.join(map(str, shape)) for shape in done.shapes)}"
    )
    print(f"input: {metadata['input']}")
    print(f"licence: {metadata['licence']}")
