"""Run folders written by hand."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from uda.runs.record import new_record, new_session, write_record

FACTS: dict[str, Any] = {
    "seed": 0,
    "precision": "off",
    "launcher": "none",
    "world_size": 1,
    "determinism": {"algorithms": False},
    "environment": {},
    "config": {
        "file": "a.py",
        "digest": "d0",
        "settings": {
            "model": {"method": {"teacher": {"decay": 0.99}}},
            "param_scheduler": [{"type": "WarmUpPolyLR", "warmup": 2}],
            "randomness": {"seed": 0},
            "launcher": "none",
        },
    },
    "versions": {"torch": "2.14.1"},
    "system": {"system": "Linux"},
    "hardware": {"threads": 1, "gpus": []},
    "data": {"source": {"images": {"files": 4, "digest": "i0"}}},
    "weights": {"model.network.backbone.weights": {"file": "w.pth", "sha256": "w0"}},
    "git": {"commit": "c0", "dirty": False, "changes": None},
}


def facts(**changes: Any) -> dict[str, Any]:
    """Facts of a run; a change is named `hardware__threads` for the place hardware.threads."""
    found = copy.deepcopy(FACTS)
    for name, value in changes.items():
        *path, last = name.split("__")
        place = found
        for key in path:
            place = place[key]
        place[last] = value
    return found


def session(log: str = "log", **changes: Any) -> dict[str, Any]:
    """A session of six iterations that has completed."""
    found = new_session(command=["train.py"], log=log, max_iterations=6)
    found.update(from_iteration=0, last_iteration=6, outcome="completed", ended=found["started"])
    return {**found, **changes}


def training(step: int, loss: float, **more: float) -> dict[str, Any]:
    """A line of the log of training."""
    return {"lr": 0.1, "time": loss * 7, "data_time": 0.1, "loss": loss, **more, "step": step}


def scores(step: int, miou: float) -> dict[str, Any]:
    """A line of the log of a validation."""
    return {"student/mIoU": miou, "time": miou * 3, "step": step}


LINES = [training(2, 2.0), scores(3, 20.0), training(4, 1.5), training(6, 1.0), scores(6, 30.0)]


def write_log(folder: Path, lines: list[dict[str, Any]], log: str = "log") -> Path:
    """The log of one session."""
    file = folder / log / "vis_data" / "scalars.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def write_run(
    folder: Path, lines: list[dict[str, Any]] | None = None, **changes: Any
) -> dict[str, Any]:
    """A run of one session; the record as written."""
    folder.mkdir(parents=True, exist_ok=True)
    record = new_record(facts(**changes), session())
    write_record(folder, record)
    write_log(folder, LINES if lines is None else lines)
    return record
