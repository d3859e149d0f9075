"""The file `run.json`: one record a run, from its first start through all restarts.

The facts of a run (settings, versions, hardware, data, ...) are those of its first start.
`sessions` has an entry for the start and one for each restart; what a restart found changed stands
there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from uda.files import write_atomically
from uda.runs.values import ABSENT, unequal

FILE_NAME = "run.json"
KIND = "uda run"
FORMAT = 1
# How a session ended; a process that was killed leaves "running".
RUNNING, COMPLETED, STOPPED, FAILED = "running", "completed", "stopped", "failed"
SESSION_KEYS = {
    "started",
    "ended",
    "outcome",
    "reason",
    "from_iteration",
    "last_iteration",
    "max_iterations",
    "log",
    "command",
    "changes",
}
_OWN_KEYS = {"kind", "format", "sessions"}


def now() -> str:
    """The time in UTC, to the second, as ISO 8601 writes it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def read_record(path: str | Path) -> dict[str, Any]:
    """The record in a file.

    Args:
        path: The file, or the folder of a run that holds `run.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or is no record that this version can read.
    """
    file = Path(path)
    file = (file / FILE_NAME if file.is_dir() else file).absolute()
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no record {file}; tools/train.py writes one into the folder of each run."
        )
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"The record {file} is damaged: it is not JSON ({error}).") from error
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise ValueError(f"{file} is not the record of a run: its 'kind' is not {KIND!r}.")
    if record.get("format") != FORMAT:
        raise ValueError(
            f"The record {file} has format {record.get('format')!r}, this version reads "
            f"{FORMAT}; use the version of this project that wrote it."
        )
    sessions = record.get("sessions")
    if not (isinstance(sessions, list) and sessions and all(map(_is_session, sessions))):
        raise ValueError(f"The record {file} is damaged: its sessions are incomplete.")
    return record


def write_record(folder: str | Path, record: Mapping[str, Any]) -> None:
    """Write `run.json` into the folder of a run, complete or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    text = json.dumps(record, indent=1, ensure_ascii=False)
    write_atomically(Path(folder) / FILE_NAME, (text + "\n").encode("utf-8", "replace"))


def new_record(facts: Mapping[str, Any], session: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a run that starts.

    Args:
        facts: What the run is made of, plain values; see `uda.engine.run_facts`.
        session: From `new_session`.
    """
    return {"kind": KIND, "format": FORMAT, **facts, "sessions": [dict(session)]}


def new_session(
    *, command: list[str], log: str, max_iterations: int, started: str | None = None
) -> dict[str, Any]:
    """An entry of `sessions` for a process that starts.

    Args:
        command: Command line as it was given.
        log: Name of the session's folder of logs within the run's folder.
        max_iterations: Iterations the run is to have in the end.
        started: Time; None takes the present one.
    """
    return {
        "started": started or now(),
        "ended": None,
        "outcome": RUNNING,
        "reason": None,
        "from_iteration": None,
        "last_iteration": None,
        "max_iterations": max_iterations,
        "log": log,
        "command": list(command),
        "changes": [],
    }


def continued(
    record: Mapping[str, Any], facts: Mapping[str, Any], session: Mapping[str, Any]
) -> dict[str, Any]:
    """The record with a restart added, and with what is not as it was at the first start.

    Args:
        record: As read.
        facts: Those of the restart.
        session: From `new_session`.
    """
    changes = [
        {"name": name, "before": _or_none(before), "after": _or_none(after)}
        for name, before, after in unequal(first_facts(record), dict(facts))
    ]
    return {**record, "sessions": [*record["sessions"], {**session, "changes": changes}]}


def first_facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of the first start."""
    return {name: value for name, value in record.items() if name not in _OWN_KEYS}


def move_aside(path: str | Path) -> Path:
    """The new place of a file that makes room: `run.1.json`, or the next number that is free."""
    path = Path(path)
    number = 1
    while (aside := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
        number += 1
    path.rename(aside)
    return aside


def _or_none(value: Any) -> Any:
    return None if value is ABSENT else value


def _is_session(session: Any) -> bool:
    return isinstance(session, dict) and session.keys() >= SESSION_KEYS
