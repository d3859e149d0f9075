"""Check the data of a config before a run: `python tools/check_data.py CONFIG`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda.commands._parser import command_parser

if TYPE_CHECKING:
    from uda.data.check.sets import SetToCheck

UNUSABLE = 2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from uda._options import ConfigOptions

    command = command_parser(
        "check_data",
        description="Read every image and label of a config as training would, and the weights it "
        "starts from, and tell what would stop or spoil a run. Exit status: 0 nothing or "
        "warnings only, 1 errors, 2 the config cannot be used.",
        example="configs/daformer/camvid_day2dusk_daformer.py",
    )
    add = command.add_argument
    add("config", help="a file under configs/ (a config is code: run only yours)")
    add("--cfg-options", nargs="+", action=ConfigOptions, metavar="KEY=VALUE",
        help="change the config")  # fmt: skip
    cores = os.cpu_count() or 1
    add("--workers", type=int, default=cores, metavar="N", help=f"processes (default {cores})")
    add("--limit", type=int, metavar="N", help="read at most N images of each set")
    add("--out", type=Path, metavar="FILE", help="write the report, with all files, as JSON")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 nothing or warnings only, 1 errors, 2 unusable config, 130 interrupted."""
    # Decoders tell of damaged files on standard error, without a name; the report says it with one.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    try:
        return check(parser().parse_args(argv))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenProcessPool:
        print("error: a worker process died (out of memory?); use fewer --workers", file=sys.stderr)
        return 1
    except (OSError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE


def check(options: argparse.Namespace) -> int:
    """Check, print and write the report."""
    from rich.console import Console

    from uda.data.check.run import check_sets
    from uda.data.check.table import print_report
    from uda.data.pairs import build_sampling
    from uda.engine.data_cache import DEFAULT
    from uda.engine.start_check import check_start
    from uda.engine.train import load_config

    config = load_config(options.config, options.cfg_options)
    sets = sets_of(config)
    sampling = build_sampling(config.train_dataloader.dataset.get("sampling"))
    cache = config.train_dataloader.dataset.get("cache", DEFAULT)
    report = check_sets(
        sets,
        sampling=sampling,
        workers=options.workers,
        limit=options.limit,
        cache=None if cache is None else Path(cache).absolute(),
    )
    report.findings += check_start(config)
    report.sort()
    print_report(report, Console())
    if options.out is not None:
        report.save(options.out)
        print(f"report: {options.out}")
    return 1 if report.count("error") else 0


def sets_of(config: Any) -> list[SetToCheck]:
    """The data sets that training and scoring by a config read.

    Args:
        config: From `load_config`.

    Raises:
        ValueError: The config has nothing to train on.
    """
    from uda.data.check.sets import SetToCheck
    from uda.data.joined import settings_of
    from uda.engine.evaluate import evaluation_dataset, without_labels

    loader = config.get("train_dataloader") or {}
    pairs: Any = loader.get("dataset") or {}
    alone = pairs.get("type") == "PseudoLabelledTarget"
    if not pairs.get("target" if alone else "source"):
        raise ValueError(
            f"{config.filename} has no train_dataloader.dataset.source: nothing to train on"
        )

    def named(domain: str, given: Any) -> list[tuple[str, Any]]:
        several = settings_of(given)
        if len(several) < 2:
            return [(domain, one) for one in several]
        return [(f"{domain} {number}", one) for number, one in enumerate(several, start=1)]

    sets = []
    if alone:  # its labels are made later, at a size of their own
        sets.append(SetToCheck("target", "target", without_labels(pairs.target)))
    else:
        sets += [SetToCheck(n, "source", dict(c)) for n, c in named("source", pairs.source)]
        sets += [SetToCheck(n, "target", dict(c)) for n, c in named("target", pairs.get("target"))]
    validation = config.get("val_dataloader")
    if validation:
        size = validation.get("batch_size", 1)
        sets.append(SetToCheck("validation", "validation", dict(validation.dataset), size))
        for name, changes in (config.get("evaluation_sets") or {}).items():
            labelled = changes.get("label_dir", "") is not None
            dataset = evaluation_dataset(config, name, labelled=labelled)
            sets.append(SetToCheck(name, "evaluation", dataset))
    return sets
