"""A run's folder as a report sees it, with a sentence on whatever is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uda.runs.logs import SCALARS, RunLog, read_log
from uda.runs.record import COMPLETED, FAILED, FILE_NAME, STOPPED, read_record
from uda.runs.values import plain

NETWORKS = ("student", "teacher")


@dataclass(frozen=True)
class ReportedRun:
    """A run as far as it can be read.

    Attributes:
        folder: Where it lies.
        name: Stem of its config file, or the folder's name.
        record: Its record; None if there is none that can be read.
        settings: Its config as plain values; empty if unknown.
        log: What it logged, with its costs.
        problems: A sentence for each thing that is not as it should be.
    """

    folder: Path
    name: str
    record: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    log: RunLog
    problems: Sequence[str] = field(default_factory=tuple)

    @property
    def seed(self) -> int | None:
        """The seed, None if it is not known."""
        if self.record is not None:
            return self.record.get("seed")
        return (self.settings.get("randomness") or {}).get("seed")

    @property
    def method(self) -> Mapping[str, Any]:
        """The settings of the method, empty if they are not known."""
        return (self.settings.get("model") or {}).get("method") or {}

    @property
    def is_source_only(self) -> bool:
        """Whether it learnt from the source alone, as its config says."""
        return self.method.get("type") == "SourceOnly"

    @property
    def has_teacher(self) -> bool:
        """Whether its method has a teacher to evaluate."""
        groups = [self.method, self.method.get("primary") or {}]
        return any(group.get("teacher") is not None for group in groups)

    @property
    def is_validated(self) -> bool:
        """Whether its config has labelled images to validate on."""
        dataset = (self.settings.get("val_dataloader") or {}).get("dataset")
        return dataset is not None and dataset.get("label_dir", "") is not None

    @property
    def last_scores(self) -> dict[str, float]:
        """What the last validation found, by `student/mIoU` and the like; empty without one."""
        return self.log.scores[max(self.log.scores)] if self.log.scores else {}

    @property
    def scored_at(self) -> int | None:
        """The iteration of the last validation."""
        return max(self.log.scores, default=None)

    @property
    def config_file(self) -> Path | None:
        """The config as it was used, written beside the run; None if there is none."""
        return _config_file(self.folder, self.record)


def read_run(folder: str | Path) -> ReportedRun:
    """The run in a folder; what is damaged or missing becomes a sentence, not an error.

    Args:
        folder: Of a run of `tools/train.py`.

    Raises:
        FileNotFoundError: There is no such folder, or nothing in it that a run writes.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(
            f"There is no run folder {path.absolute()}; give a folder that tools/train.py wrote."
        )
    problems: list[str] = []
    try:
        record: dict[str, Any] | None = _with_config(read_record(path))
    except (OSError, ValueError) as error:
        record = None
        problems.append(f"{error} Settings and logs are read without it.")
    file = _config_file(path, record)
    if record is None and file is None and not list(path.glob(f"*/{SCALARS.as_posix()}")):
        raise FileNotFoundError(
            f"{path.absolute()} holds no {FILE_NAME}, no config and no log: it is no run of "
            "tools/train.py (of several runs give each folder)."
        )
    log = _log(path, record, problems)
    problems += _ending(record, log)
    settings = _settings(record, file, problems)
    name = Path(record["config"]["file"]).stem if record else (file or path).stem
    return ReportedRun(path, name or path.name, record, settings, log, tuple(problems))


def _with_config(record: dict[str, Any]) -> dict[str, Any]:
    """The record, if it says what the run was configured by."""
    config = record.get("config")
    if not (isinstance(config, Mapping) and {"file", "settings"} <= config.keys()):
        raise ValueError("The record run.json is damaged: it does not say which config was used.")
    return record


def _config_file(folder: Path, record: Mapping[str, Any] | None) -> Path | None:
    if record is not None:
        file = folder / str(record["config"]["file"])
        return file if file.is_file() else None
    return next(iter(sorted(folder.glob("*.py"))), None)


def _settings(
    record: Mapping[str, Any] | None, file: Path | None, problems: list[str]
) -> Mapping[str, Any]:
    if record is not None:
        return record["config"]["settings"] or {}
    if file is None:
        problems.append("The config that was used is not there either.")
        return {}
    from mmengine.config import Config

    try:
        settings: dict[str, Any] = plain(Config.fromfile(file).to_dict())
    except Exception as error:  # a config is code: anything may come of reading a damaged one
        problems.append(f"Its config {file.name} cannot be read: {error}.")
        return {}
    return settings


def _log(folder: Path, record: Mapping[str, Any] | None, problems: list[str]) -> RunLog:
    """The log; without a record, the folders of sessions in the order of their names."""
    known = record or {"sessions": _found_sessions(folder)}
    try:
        log = read_log(folder, known, costs=True)
    except ValueError as error:
        problems.append(f"The log is damaged: {error}")
        return RunLog()
    if not log.training and not log.scores:
        problems.append("Nothing was logged, so that there are no curves.")
    return log


def _found_sessions(folder: Path) -> list[dict[str, Any]]:
    found = sorted(file.parents[1].name for file in folder.glob(f"*/{SCALARS.as_posix()}"))
    # Where a session went on is not known: what it logged replaces what has the same iteration.
    return [
        {"log": name, "from_iteration": 0 if number == 0 else float("inf")}
        for number, name in enumerate(found)
    ]


def _ending(record: Mapping[str, Any] | None, log: RunLog) -> list[str]:
    """A sentence on a run that is not complete."""
    if record is None:
        return []
    session = record["sessions"][-1]
    outcome = session["outcome"]
    if outcome == COMPLETED:
        return []
    done = max([session["last_iteration"] or 0, *log.training, *log.scores])
    where = f"at iteration {done} of {session['max_iterations']}"
    reason = f": {session['reason']}" if session["reason"] else ""
    if outcome == STOPPED:
        return [f"The run was stopped {where}{reason.rstrip('.')}; --resume goes on with it."]
    if outcome == FAILED:
        return [f"The run failed {where}{reason.rstrip('.')}."]
    return [
        f"The run has not ended, or was killed: the last that is known of it is {where}. All "
        "figures are of that state."
    ]
