"""What runs were made of and what they cost, from their records."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath
from typing import Any

from uda.engine.run_report.curve_parts import curve_chart, over_seeds
from uda.engine.run_report.groups import Group
from uda.engine.run_report.reading import ReportedRun
from uda.engine.run_report.scalars import Kind, names_of
from uda.engine.run_report.subjects import Gathered
from uda.reports import Columns, Details, Part, Section, Style, Table, Text
from uda.reports.charts import COLOURS
from uda.reports.page import Cell
from uda.runs.values import ABSENT, unequal

_OF_RUN = ("work_dir", "randomness", "classes", "palette", "launcher")


def cost_section(gathered: Gathered) -> Section:
    """Time of an iteration, time in all, memory."""
    rows: list[list[Cell]] = []
    for run, label in _named(gathered):
        times = [line["time"] for line in run.log.training.values() if "time" in line]
        waits = [line["data_time"] for line in run.log.training.values() if "data_time" in line]
        rows.append([
            label,
            statistics.median(times) if times else None,
            100 * sum(waits) / sum(times) if waits and sum(times) else None,
            max([*run.log.training, *run.log.scores], default=None),
            _duration(run),
            _highest(run, "memory/device", "memory"),
            _highest(run, "memory/host"),
            _device(run),
        ])  # fmt: skip
    columns = ["run", "s an iteration", "waiting for data (%)", "iterations", "in all",
               "GPU memory (MiB)", "host memory (MiB)", "machine"]  # fmt: skip
    table = Table(columns, rows, "Seconds are the median of what was logged, memory the most. "
                  "In all: from start to end, validation included.")  # fmt: skip
    parts: list[Part] = [table]
    charts: list[Part] = []
    for name in ("time", "memory"):
        lines = {group.label: over_seeds(group, name)[0] for group in gathered.all_groups}
        first = 0 if gathered.source_only is not None else 1
        styles = {label: Style((n + first) % COLOURS) for n, label in enumerate(lines)}
        title = {"time": "Time of an iteration", "memory": "Memory of the GPU"}[name]
        unit = {"time": "s", "memory": "MiB"}[name]
        charts += curve_chart(lines, title, y_label=unit, styles=styles)
    for group in gathered.all_groups:
        charts += _phases(group)
    if charts:
        parts.append(Columns(charts))
    return Section("Cost", parts)


def record_section(gathered: Gathered) -> Section:
    """How each run ended, what it was made of, and in which settings groups differ."""
    rows = [_record_row(run, label) for run, label in _named(gathered)]
    columns = ["run", "seed", "ended", "started (UTC)", "precision", "processes", "torch", "commit"]
    parts: list[Part] = [
        Table(columns, rows, "Records of the runs (run.json).", words=1),
        *_differences(gathered),
    ]
    for group in gathered.all_groups:
        parts.append(Details(f"All settings of {group.label}", [_settings(group)]))
    for run, label in _named(gathered):
        if run.record is not None:
            parts.append(Details(f"Record of {label}", _record_parts(run.record, label)))
    return Section("Settings and record", parts)


def flattened(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Dotted name and text of each plain value inside; lists of plain values are one.

    >>> flattened({"a": {"b": 1, "c": [1, 2]}, "d": [{"e": None}]})
    [('a.b', '1'), ('a.c', '[1, 2]'), ('d.0.e', 'None')]
    """
    if isinstance(value, Mapping) and value:
        pairs = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and any(isinstance(inner, Mapping | list) for inner in value):
        pairs = [(str(at), inner) for at, inner in enumerate(value)]
    else:
        return [(name, str(value))]
    return [
        row for key, inner in pairs for row in flattened(inner, f"{name}.{key}" if name else key)
    ]


def _named(gathered: Gathered) -> list[tuple[ReportedRun, str]]:
    """Each run with a name that tells it from the others."""
    return [
        (run, group.label if len(group.runs) == 1 else f"{group.label}, seed {run.seed}")
        for group in gathered.all_groups
        for run in group.runs
    ]


def _highest(run: ReportedRun, *names: str) -> float | None:
    """The largest logged value of the first name that was logged."""
    for name in names:
        found = [line[name] for line in run.log.training.values() if name in line]
        if found:
            return max(found)
    return None


def _phases(group: Group) -> list[Part]:
    """Times and memory that a hook logged by part of the iteration."""
    logged = {step: line for run in group.runs for step, line in run.log.training.items()}
    parts: list[Part] = []
    kinds: list[tuple[Kind, str]] = [("time", "s"), ("memory", "MiB")]
    for kind, unit in kinds:
        names = [name for name in names_of(logged, kind) if "/" in name]
        lines = {name: over_seeds(group, name)[0] for name in names}
        parts += curve_chart(lines, f"{kind.capitalize()} by part, {group.label}", y_label=unit)
    return parts


def _duration(run: ReportedRun) -> str | None:
    """The time of all sessions that ended, as hours and minutes."""
    if run.record is None:
        return None
    seconds = 0.0
    for session in run.record["sessions"]:
        if session["ended"] is None:
            return None
        times = [datetime.fromisoformat(session[name]) for name in ("started", "ended")]
        seconds += (times[1] - times[0]).total_seconds()
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


def _device(run: ReportedRun) -> str | None:
    hardware = (run.record or {}).get("hardware") or {}
    gpus = [gpu.get("name", "GPU") if isinstance(gpu, dict) else str(gpu)
            for gpu in hardware.get("gpus") or []]  # fmt: skip
    if gpus:
        return f"{len(gpus)} x {gpus[0]}"
    cores = hardware.get("cores_usable") or hardware.get("cores")
    return f"{hardware['cpu']}, {cores} core{'s' * (cores != 1)}" if hardware.get("cpu") else None


def _record_row(run: ReportedRun, label: str) -> list[Cell]:
    record = run.record
    if record is None:
        return [label, run.seed, "no record", *[None] * 5]
    last = record["sessions"][-1]
    ended = f"{last['outcome']} at {last['last_iteration']} of {last['max_iterations']}"
    git = record.get("git") or {}
    commit = str(git.get("commit") or "")[:10] + (" (changed)" if git.get("dirty") else "")
    started = str(record["sessions"][0]["started"]).replace("+00:00", "").replace("T", " ")
    versions = record.get("versions") or {}
    return [label, run.seed, ended, started, record.get("precision"), record.get("world_size"),
            versions.get("torch"), commit or None]  # fmt: skip


def _differences(gathered: Gathered) -> list[Part]:
    """Settings in which groups differ from the first one."""
    known = [group for group in gathered.all_groups if group.first.settings]
    if len(known) < 2:
        return []
    first, *others = known
    base = _compared(first.first)
    found: dict[str, dict[str, str]] = {}
    for group in others:
        for name, before, after in unequal(base, _compared(group.first)):
            found.setdefault(name, {})[first.label] = _told(before)
            found[name][group.label] = _told(after)
    labels = [first.label, *(group.label for group in others)]
    rows = [
        [name, *(row.get(label, row.get(first.label)) for label in labels)]
        for name, row in found.items()
    ]
    table = Table(["setting", *labels], rows, "Settings in which groups differ.",
                  words=1 + len(labels))  # fmt: skip
    return [Details(f"{len(rows)} settings differ between groups", [table])]


def _compared(run: ReportedRun) -> dict[str, Any]:
    return {name: value for name, value in run.settings.items() if name not in _OF_RUN}


def _told(value: Any) -> str:
    text = "not there" if value is ABSENT else str(value)
    return text if len(text) <= 160 else text[:159] + "…"


def _settings(group: Group) -> Part:
    if not group.first.settings:
        return Text("They are not known.")
    return Table(["setting", "value"], [list(row) for row in flattened(group.first.settings)],
                 f"The config of {group.label} as it was used.", words=2)  # fmt: skip


def _record_parts(record: Mapping[str, Any], label: str) -> list[Part]:
    facts = {
        name: record.get(name)
        for name in ("seed", "precision", "launcher", "world_size", "determinism", "environment",
                     "versions", "system", "hardware", "data", "weights", "git")
    }  # fmt: skip
    sessions: list[Sequence[Cell]] = [
        [str(number), session["started"], session["ended"], session["outcome"], session["reason"],
         session["from_iteration"], session["last_iteration"], command(session["command"]),
         len(session["changes"])]
        for number, session in enumerate(record["sessions"], start=1)
    ]  # fmt: skip
    columns = ["session", "started", "ended", "outcome", "reason", "from", "to", "command",
               "changes"]  # fmt: skip
    return [
        Table(columns, sessions, f"Sessions of {label}: the first start and each restart."),
        Table(
            ["fact", "value"],
            [list(row) for row in flattened(facts)],
            f"Facts of {label}.",
            words=2,
        ),
    ]


def command(words: Sequence[str]) -> str:
    """A command line without the folders of the machine that it ran on.

    >>> command(["/somewhere/project/tools/train.py", "configs/a.py"])
    'tools/train.py configs/a.py'
    """
    return " ".join(
        "/".join(PurePath(word).parts[-2:]) if PurePath(word).is_absolute() else word
        for word in words
    )
