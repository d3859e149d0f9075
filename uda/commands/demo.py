"""The whole way on generated data: `make demo`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from uda.commands._parser import command_parser
from uda.commands._status import exit_status

PROJECT = Path(__file__).resolve().parents[2]
RUNS = {
    "source-only": "configs/source_only/toycity_categories_source_only.py",
    "DAFormer": "configs/daformer/toycity_categories_daformer.py",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "demo",
        description="Generate a two-domain city, train source-only and DAFormer, compare.",
        example="--iterations 300",
    )
    command.add_argument(
        "--iterations", type=int, default=300, metavar="N", help="of each training (300)"
    )
    command.add_argument(
        "--work-dir",
        type=Path,
        default=Path("work_dirs/demo"),
        metavar="DIR",
        help="folder of both runs (work_dirs/demo)",
    )
    command.add_argument(
        "--data", type=Path, default=Path("data/toycity"), metavar="DIR",
        help="folder of the generated images, used again if it is there (data/toycity)",
    )  # fmt: skip
    command.add_argument(
        "--images", type=int, nargs=3, default=(400, 200, 60), metavar=("SOURCE", "TARGET", "VAL"),
        help="how many to generate: labelled source, unlabelled target, labelled target",
    )  # fmt: skip
    return command


def parsed(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments, with numbers that can be."""
    command = parser()
    options = command.parse_args(argv)
    if options.iterations < 1:
        command.error(f"--iterations has to be at least 1, got {options.iterations}")
    if min(options.images) < 1:
        command.error(f"--images has to be three numbers of at least 1, got {options.images}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Generate ToyCity, train both ways at the same time, compare on the target."""
    options = parsed(argv)
    started = time.monotonic()
    data = generate(options.data, options.images)
    print(f"ToyCity in {data}: {time.monotonic() - started:.0f} s", flush=True)
    train(options.work_dir, options.iterations, data)
    rows = scores(options.work_dir)
    report = write_report(options.work_dir)
    show(rows, time.monotonic() - started)
    print(f"The report stands in {report}; open it in a browser.")


def generate(folder: Path, images: Sequence[int]) -> Path:
    """The folder with both domains, made unless it is there already.

    Raises:
        FileExistsError: The folder holds something else.
    """
    from uda.data.toycity import write_toycity

    source, target, val = images
    try:
        return write_toycity(
            folder, num_source=source, num_target=target, num_val=val, workers=os.cpu_count()
        )
    except FileExistsError as error:
        raise FileExistsError(
            f"{error} (the folder is {folder.absolute()}; --data DIR names another)"
        ) from error


def train(work_dir: Path, iterations: int, data: Path) -> None:
    """Both trainings side by side, one thread each; their output goes to log files."""
    processes = {}
    for name, config in RUNS.items():
        folder = work_dir / Path(config).stem
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, str(PROJECT / "tools/train.py"), str(PROJECT / config),
            "--work-dir", str(folder),
            "--cfg-options", f"train_cfg.max_iters={iterations}",
            # Often enough for curves in the report.
            f"train_cfg.val_interval={max(1, iterations // 3)}",
            f"default_hooks.logger.interval={max(1, iterations // 30)}",
            *data_options(data, name),
        ]  # fmt: skip
        with (folder / "output.txt").open("w") as log:
            processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        print(f"training {name}: {iterations} iterations, log in {folder}/output.txt", flush=True)
    for name, process in processes.items():
        if process.wait() != 0:
            log_file = work_dir / Path(RUNS[name]).stem / "output.txt"
            tail = "\n".join(log_file.read_text().splitlines()[-15:])
            sys.exit(f"error: training {name} failed; the end of {log_file}:\n{tail}")


def data_options(data: Path, name: str) -> list[str]:
    """Where a run's config finds the images."""
    pairs = "train_dataloader.dataset"
    options = [
        f"{pairs}.source.data_root={data / 'gta5'}",
        f"val_dataloader.dataset.data_root={data / 'cityscapes'}",
    ]
    if name != "source-only":
        options.append(f"{pairs}.target.data_root={data / 'cityscapes'}")
    return options


def scores(work_dir: Path) -> dict[str, dict[str, float]]:
    """The last validation of each run, by network."""
    rows = {}
    for name, config in RUNS.items():
        logs = sorted((work_dir / Path(config).stem).glob("*/vis_data/scalars.json"))
        lines = [json.loads(line) for line in logs[-1].read_text().splitlines()]
        last = [line for line in lines if "student/mIoU" in line][-1]
        for network in ("student", "teacher"):
            prefix = f"{network}/"
            if f"{prefix}mIoU" in last:
                label = name if name == "source-only" else f"{name} ({network})"
                rows[label] = {k[len(prefix) :]: v for k, v in last.items() if k.startswith(prefix)}
    return rows


def write_report(work_dir: Path) -> Path:
    """The page about both runs."""
    from uda.commands import report

    page = work_dir / "report.html"
    runs = [str(work_dir / Path(config).stem) for config in RUNS.values()]
    if report.main([*runs, "--out", str(page)]) != 0:
        raise ValueError("the report could not be written")
    return page


def show(rows: dict[str, dict[str, float]], seconds: float) -> None:
    """A table of the results."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="ToyCity, target validation images, IoU in %")
    table.add_column("class")
    for label in rows:
        table.add_column(label, justify="right")
    names = [key for key in next(iter(rows.values())) if key.startswith("IoU.")]
    for key in [*names, "mIoU"]:
        cells = [f"{row[key]:.1f}" if key in row else "-" for row in rows.values()]
        table.add_row(key.removeprefix("IoU."), *cells, style="bold" if key == "mIoU" else None)
    Console().print(table)
    gain = rows["DAFormer (student)"]["mIoU"] - rows["source-only"]["mIoU"]
    print(f"DAFormer's student is {gain:+.1f} points from source-only; {seconds:.0f} s in all.")
