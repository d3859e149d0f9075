"""One page about one or several runs: `python tools/report.py RUN [RUN ...]`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from uda.commands._parser import command_parser
from uda.commands._status import exit_status


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "report",
        description="Write one self-contained page about runs: scores, curves, confusion, "
        "calibration, best and worst images, pseudo-labels, cost, settings. Runs that differ in "
        "the seed alone are one group.",
        example="work_dirs/toycity_daformer --source-only work_dirs/toycity_source_only",
    )
    add = command.add_argument
    add("runs", nargs="+", metavar="RUN", help="folder of a run")
    add("--source-only", nargs="+", default=[], metavar="RUN", help="the run to compare with "
        "(default: those of RUN whose config says so)")  # fmt: skip
    add("--out", default="report.html", metavar="FILE", help="default: report.html")
    add("--network", choices=("student", "teacher"), default="student", help="which one is shown "
        "where one has to be chosen (default: student)")  # fmt: skip
    add("--on", metavar="SET", help="an evaluation set of the config (default: validation)")
    add("--images", type=int, metavar="N", help="predict at most N images, evenly spread")
    add("--no-inference", action="store_true", help="run no network: no confusion, calibration "
        "and pictures")  # fmt: skip
    return command


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, with numbers that can be."""
    command = parser()
    options = command.parse_args(argv)
    if options.images is not None and options.images < 1:
        command.error(f"--images is at least 1, not {options.images}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Read the runs, run their networks, write the page."""
    options = parsed(argv)
    from mmengine.logging import MMLogger

    if not MMLogger.check_instance_created("report"):
        MMLogger.get_instance("report", logger_name="report", log_level="WARNING")
    from uda.engine.run_report.gather import Wishes, gather
    from uda.engine.run_report.page import report_page
    from uda.reports import write_page

    wishes = Wishes(
        source_only=options.source_only,
        network=options.network,
        on=options.on,
        images=options.images,
        inference=not options.no_inference,
    )
    # `work_dirs/demo/*` finds the last report as well.
    folders = [one for one in options.runs if Path(one).resolve() != Path(options.out).resolve()]
    gathered = gather(folders, wishes, say=say)
    write_page(report_page(gathered), options.out)
    for problem in gathered.problems:
        say(f"note: {problem}")
    size = Path(options.out).stat().st_size / 2**20
    say(f"report in {options.out} ({size:.1f} MiB)")


def say(text: str) -> None:
    """A line of progress, at once also where output goes to a file."""
    print(text, flush=True)
