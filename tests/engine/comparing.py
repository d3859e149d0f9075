"""Comparing two runs: their last checkpoints to the bit, and what they logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# What a checkpoint holds that has to be equal; `meta` has the time of day.
PARTS = ("state_dict", "optimizer", "param_schedulers", "random_states", "log_sums")
# Logged figures that have nothing to do with learning.
NOT_COMPARED = ("time", "data_time", "memory", "eta")


def load(path: Path) -> dict[str, Any]:
    """A checkpoint."""
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    return content


def differences(first: Any, second: Any, place: str = "") -> list[str]:
    """Where two nested structures of tensors and numbers differ in a bit."""
    if isinstance(first, Tensor):
        return [] if torch.equal(first, second) else [place]
    if isinstance(first, dict):
        if first.keys() != second.keys():
            return [f"{place} {first.keys() ^ second.keys()}"]
        return [d for k in first for d in differences(first[k], second[k], f"{place}.{k}")]
    if isinstance(first, (list, tuple)):
        pairs = enumerate(zip(first, second, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{place}[{i}]")]
    return [] if first == second else [place]


def assert_same_run(first: Path, second: Path) -> None:
    """Networks, optimiser, schedule, random states and open sums of two checkpoints are equal."""
    one, two = load(first), load(second)
    for part in PARTS:
        assert differences(one[part], two[part], part) == []


def logged(work_dir: Path) -> dict[int, list[dict[str, float]]]:
    """Logged losses by iteration; a resumed run has several records of some iterations.

    The last line of a file may be half, if the run was killed while it was written.
    """
    found: dict[int, list[dict[str, float]]] = {}
    for file in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                values = json.loads(line)
            except json.JSONDecodeError:
                continue
            if "loss" in values:
                kept = {k: v for k, v in values.items() if k.split("/")[0] not in NOT_COMPARED}
                found.setdefault(int(values["step"]), []).append(kept)
    return found


def assert_same_log(straight: Path, resumed: Path) -> None:
    """Whatever the resumed run logged, however often, is what the straight run logged."""
    wanted = logged(straight)
    for step, records in logged(resumed).items():
        for record in records:
            assert record == wanted[step][0], step
