"""Checkpoints to score: a full one with two different networks, and a deploy one of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from mmseg.registry import MODELS

from uda.engine.deploy import write_deploy_checkpoints
from uda.engine.train import load_config

from .tiny_run import CLASSES, PALETTE, write_config


@dataclass(frozen=True)
class Checkpoints:
    """Files of an untrained run.

    Attributes:
        config: Config of the run, with the evaluation sets "val" and "bare" (no labels).
        full: Student and teacher, whose weights differ.
        deploy: Folder with `student.pth` and `teacher.pth`.
    """

    config: Path
    full: Path
    deploy: Path


def write_checkpoints(folder: Path) -> Checkpoints:
    """Draw two networks that predict differently, and save them in all forms."""
    file = write_config(folder)
    bare = {"image_dir": "images", "label_dir": None}
    with file.open("a", encoding="utf-8") as config_file:
        config_file.write(f"evaluation_sets = { ({'val': {}, 'bare': bare})!r}\n")
    config = load_config(file)
    torch.manual_seed(0)
    model = MODELS.build(dict(config.model))
    model.init_weights()
    with torch.no_grad():
        for parameter in model.method.teacher.network.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    full = folder / "iter_6.pth"
    torch.save({"state_dict": model.state_dict(), "meta": {"iter": 6}}, full)
    write_deploy_checkpoints(
        folder / "deploy",
        networks=model.method.networks(),
        config=config,
        metainfo={"classes": CLASSES, "palette": PALETTE},
    )
    return Checkpoints(file, full, folder / "deploy")
