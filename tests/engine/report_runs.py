"""Folders as runs leave them, written by hand: records, logs, and networks that learnt nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from uda.engine.deploy import write_deploy_checkpoints
from uda.engine.train import load_config
from uda.runs.record import new_record, new_session, write_record
from uda.runs.values import digest, plain

from .tiny_run import CLASSES, PALETTE, model_config, write_config

LOG = "20260101_000000"


def write_run(
    base: Path,
    name: str,
    *,
    source_only: bool = False,
    seed: int = 0,
    score: float = 50.0,
    outcome: str = "completed",
    reason: str | None = None,
    networks: bool = True,
    labels: bool = True,
    **method: Any,
) -> Path:
    """The folder `base / name` of a run on the drawn images in `base / "data"`.

    Args:
        base: Where; images are drawn if there are none yet.
        name: Of the folder; the config is "city_source_only" or "city_daformer".
        source_only: Of which method.
        seed: Of the run and of its networks.
        score: mIoU of the last validation; the student's.
        outcome: How the run ended.
        reason: Why.
        networks: Whether there are checkpoints.
        labels: Whether the config has labelled target images.
        **method: Replaces settings of the method.
    """
    model = model_config()
    model["method"] = {"type": "SourceOnly"} if source_only else {**model["method"], **method}
    written = write_config(base, iterations=60, model=model)
    settings = Config.fromfile(written)
    settings.randomness = {"seed": seed}
    if source_only:
        settings.train_dataloader.dataset.target = None
    if not labels:
        for loader in ("val_dataloader", "val_evaluator", "val_cfg"):
            settings[loader] = None
    folder = base / name
    folder.mkdir(parents=True)
    file = folder / f"city_{'source_only' if source_only else 'daformer'}.py"
    settings.dump(file)
    config = load_config(file)
    _write_record(folder, config, file, seed, outcome, reason)
    _write_log(folder, source_only=source_only, score=score if labels else None)
    if networks:
        torch.manual_seed(seed)
        built = MODELS.build(dict(config.model))
        built.init_weights()
        meta = {"classes": CLASSES, "palette": PALETTE}
        write_deploy_checkpoints(
            folder / "deploy", networks=built.method.networks(), config=config, metainfo=meta
        )
    return folder


def three_runs(base: Path) -> dict[str, Path]:
    """Source-only, and two seeds of an adaptation."""
    return {
        "source": write_run(base, "source", source_only=True, score=30.0),
        "first": write_run(base, "first", score=50.0),
        "second": write_run(base, "second", seed=1, score=54.0),
    }


def copy_run(folder: Path, name: str) -> Path:
    """A copy beside a run, to be damaged."""
    return Path(shutil.copytree(folder, folder.with_name(name)))


def _write_record(
    folder: Path, config: Config, file: Path, seed: int, outcome: str, reason: str | None
) -> None:
    settings = plain(config.to_dict())
    facts = {
        "seed": seed,
        "precision": "off",
        "world_size": 1,
        "config": {"file": file.name, "digest": digest(settings), "settings": settings},
        "versions": {"torch": "2.9.0"},
        "hardware": {"cpu": "A", "cores": 2, "gpus": []},
        "git": {"commit": "0123456789abcdef", "dirty": False},
    }
    session = new_session(
        command=["/somewhere/tools/train.py", "configs/a.py"], log=LOG, max_iterations=60,
        started="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    ended = None if outcome == "running" else "2026-01-01T00:02:05+00:00"
    last = 60 if outcome == "completed" else 40
    session |= {"ended": ended, "outcome": outcome, "reason": reason}
    session |= {"from_iteration": 0, "last_iteration": last}
    write_record(folder, new_record(facts, session))


def _write_log(folder: Path, *, source_only: bool, score: float | None) -> None:
    lines: list[dict[str, Any]] = []
    for step in range(10, 61, 10):
        loss = 3.0 / step
        line = {"base_lr": 1e-3 / step, "lr": 1e-3 / step, "time": 0.5, "data_time": 0.05}
        line |= {"source/ce": loss, "source/accuracy": 50.0 + step, "loss": loss}
        if not source_only:
            line |= {"mixed/ce": loss / 2, "mixed/pseudo_weight": step / 60, "loss": 1.5 * loss}
            line |= {f"pseudo/kept.{name}": n / 3 for n, name in enumerate(CLASSES)}
        lines.append({**line, "iter": step, "step": step})
        if score is not None and step % 30 == 0:
            networks = ["student"] if source_only else ["student", "teacher"]
            found = {f"{n}/mIoU": score - (60 - step) / 10 for n in networks}
            for number, name in enumerate(CLASSES):
                found |= {f"{n}/IoU.{name}": score + 10 * (number - 1) for n in networks}
            lines.append({**found, "step": step})
    place = folder / LOG / "vis_data" / "scalars.json"
    place.parent.mkdir(parents=True)
    place.write_text("".join(json.dumps(line) + "\n" for line in lines))
