"""What a run logged, put together from the folders of its sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCALARS = Path("vis_data", "scalars.json")
# They say the same as the step, or what is still to come.
_REPEATED = frozenset({"eta", "iter", "epoch", "step"})
# They differ between any two runs.
_COSTS = frozenset({"time", "data_time", "memory"})
_COST_KINDS = ("time/", "memory/")
NOT_COMPARED = _COSTS | _REPEATED


@dataclass(frozen=True)
class RunLog:
    """Logged numbers of a run by iteration.

    Attributes:
        training: Losses and other means over the interval that ends with the iteration.
        scores: What validations found.
    """

    training: dict[int, dict[str, float]] = field(default_factory=dict)
    scores: dict[int, dict[str, float]] = field(default_factory=dict)


def read_log(folder: str | Path, record: Mapping[str, Any], *, costs: bool = False) -> RunLog:
    """The log of a run, without the times unless they are asked for.

    A session that went on from iteration n repeats what came after n: lines of the sessions before
    it are dropped there, even if it logged at other iterations.

    Args:
        folder: The run's folder.
        record: Its record, which names the sessions' folders; others are no part of this run.
        costs: Keep seconds an iteration and memory (MiB), which differ between any two runs.

    Raises:
        ValueError: A line is no JSON object; a last line that a killed process left is passed over.
    """
    log = RunLog()
    for session in record["sessions"]:
        start = session["from_iteration"]
        if start is None:  # It ended before its first iteration.
            continue
        _forget_after(log, start)
        for line in _lines(Path(folder) / session["log"] / SCALARS):
            _add(log, line, costs)
    return log


def _forget_after(log: RunLog, start: int) -> None:
    for kept in (log.training, log.scores):
        for iteration in [step for step in kept if step > start]:
            del kept[iteration]


def _add(log: RunLog, line: Mapping[str, Any], costs: bool) -> None:
    numbers = {
        name: value
        for name, value in line.items()
        if isinstance(value, (int, float))
        and name not in _REPEATED
        and (costs or not (name in _COSTS or name.startswith(_COST_KINDS)))
    }
    # mmengine logs the learning rate with every line of training and with no other.
    target = log.training if "lr" in line else log.scores
    target[int(line.get("step", 0))] = numbers


def _lines(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(
                f"{file.absolute()}, line {number} is not JSON ({error}); remove the line."
            ) from error
        if not isinstance(content, dict):
            raise ValueError(f"{file.absolute()}, line {number} is no JSON object; remove it.")
        found.append(content)
    return found
