"""The whole way on generated data: `make demo`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

RUNS = {
    "source-only": "configs/source_only/toycity_source_only.py",
    "DAFormer": "configs/daformer/toycity_daformer.py",
}


def main() -> None:
    """Generate ToyCity, train both ways at the same time, compare on the target."""
    parser = argparse.ArgumentParser(
        description="Generate a two-domain city, train source-only and DAFormer, compare.",
        epilog="example: python tools/demo.py --iterations 300",
    )
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/demo"))
    arguments = parser.parse_args()
    from uda.data.toycity import write_toycity

    started = time.monotonic()
    data = write_toycity("data/toycity", workers=os.cpu_count())
    print(f"ToyCity in {data}: {time.monotonic() - started:.0f} s", flush=True)
    train(arguments.work_dir, arguments.iterations)
    rows = scores(arguments.work_dir)
    show(rows, time.monotonic() - started)


def train(work_dir: Path, iterations: int) -> None:
    """Both trainings side by side, one thread each; their output goes to log files."""
    processes = {}
    for name, config in RUNS.items():
        folder = work_dir / Path(config).stem
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "tools/train.py", config, "--work-dir", str(folder), "--cfg-options",
            f"train_cfg.max_iters={iterations}", f"train_cfg.val_interval={iterations}",
        ]  # fmt: skip
        with (folder / "output.txt").open("w") as log:
            processes[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        print(f"training {name}: {iterations} iterations, log in {folder}/output.txt", flush=True)
    for name, process in processes.items():
        if process.wait() != 0:
            log_file = work_dir / Path(RUNS[name]).stem / "output.txt"
            tail = "\n".join(log_file.read_text().splitlines()[-15:])
            sys.exit(f"error: training {name} failed; the end of {log_file}:\n{tail}")


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


if __name__ == "__main__":
    main()
