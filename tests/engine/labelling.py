"""A small run to label by, and what each process of `test_label_processes.py` does."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import cv2
import torch

from uda.data.pseudo_labels import Manifest
from uda.engine import label_generation
from uda.engine.evaluate import load_network
from uda.engine.label_generation import generate_labels
from uda.engine.label_settings import LabelSettings
from uda.engine.train import load_config

from .tiny_run import make_runner, write_config, write_data

IMAGES = 7
SETTINGS = LabelSettings(
    selector={"type": "InstanceAdaptive", "initial": 0.3, "beta": 0.5}, batch_size=1
)


def trained(root: Path) -> Path:
    """A folder with a config, seven target images and a checkpoint of two iterations."""
    write_data(root / "data")
    target = root / "data" / "target" / "images"
    for index in range(4, IMAGES):
        image = cv2.imread(str(target / f"{index - 4}.png"))
        assert cv2.imwrite(str(target / f"{index}.png"), image[::-1])
    write_config(root, iterations=2, val_interval=100)
    torch.manual_seed(0)
    make_runner(root / "config.py", root / "run").train()
    return root


def files(folder: Path) -> dict[str, bytes]:
    """All labels of a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


def generate(run: Path, out: Path, **changes: Any) -> Manifest:
    """Labels of the run's teacher, one image a batch, noted every three."""
    label_generation._NOTED = 3
    checkpoint = run / "run" / "iter_2.pth"
    config = load_config(run / "config.py")
    return generate_labels(
        load_network(config, checkpoint, "teacher"),
        config,
        **{"checkpoint": checkpoint, "out": out, "settings": SETTINGS, "workers": 0, **changes},
    )


def work(rank: int, size: int, run: str, out: str, port: int, batch: int, dies: int) -> None:
    """Label in batches of so many images, or die after so many; say what came of it."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=size)

    def progress(done: int, total: int) -> None:
        assert rank == 0
        assert total == IMAGES
        if done == dies:
            os._exit(9)

    settings = dataclasses.replace(SETTINGS, batch_size=batch)
    manifest = generate(Path(run), Path(out), progress=progress, settings=settings)
    seed = 1 if rank == size - 1 else 0
    other = dataclasses.replace(SETTINGS, seed=seed)
    try:
        generate(Path(run), Path(f"{out}_other"), settings=other)
        told = ""
    except ValueError as error:
        told = str(error)
    except RuntimeError:
        told = "another process has gone"
    torch.save({"told": told, "same": manifest == Manifest.read(out)}, f"{out}/rank_{rank}.pth")
    os._exit(0)  # no process waits for those that another one's error has left behind
