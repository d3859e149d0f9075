"""How a case of bad input is written down, and what is done with it."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmseg.registry import DATASETS

from tests.engine.tiny_run import write_config
from uda.commands.check_data import sets_of
from uda.data.check.findings import Report
from uda.data.check.run import check_sets
from uda.data.pairs import build_sampling
from uda.engine.train import load_config

Found = tuple[str, str, int]  # kind, data set, files


@dataclass(frozen=True)
class DataCase:
    """Data of a two-domain run with one fault.

    Attributes:
        name: What is wrong.
        spoil: Puts the fault into the folder that holds `source`, `target` and `val`.
        error: The sentence that training stops with, `{data}` standing for that folder; empty where
            the input is legitimate and training works.
        found: What `tools/check_data.py` finds, exactly.
        options: Changes of the config.
        forbidden: File or folder of that folder that the system refuses to open.
        spoils: Training works on something else than meant, or stops later: an error of the check.
    """

    name: str
    spoil: Callable[[Path], object]
    error: str = ""
    found: tuple[Found, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    forbidden: str = ""
    spoils: bool = False


@dataclass(frozen=True)
class StepCase:
    """Something else that goes wrong on the way to a run.

    Attributes:
        name: What is wrong.
        run: Does it, in an empty folder.
        error: The sentence it stops with, `{root}` standing for the folder; empty where it works.
    """

    name: str
    run: Callable[[Path, pytest.MonkeyPatch], object]
    error: str = ""


def toy_config(root: Path, options: Mapping[str, Any]) -> Config:
    """The config of a tiny run on the data in `root / "data"`."""
    return load_config(write_config(root), dict(options))


def train_reads(config: Config) -> None:
    """Read every image and label once, as a run does in its first epochs and validation."""
    pairs = DATASETS.build(config.train_dataloader.dataset)
    pairs.full_init()
    for draw in range(max(len(pairs.source), len(pairs.target))):
        pairs[(0, draw)]
    validation = DATASETS.build(config.val_dataloader.dataset)
    for index in range(len(validation)):
        validation[index]


def checked(config: Config) -> Report:
    """The report of `tools/check_data.py`."""
    sampling = build_sampling(config.train_dataloader.dataset.get("sampling"))
    return check_sets(sets_of(config), sampling=sampling)


def forbid(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Refuse to open a file or list a folder, as the system does to all but root."""
    for owner, name in ((io, "open"), (os, "scandir")):
        original = getattr(owner, name)

        def refused(place: Any = ".", *args: Any, original: Any = original, **named: Any) -> Any:
            if not isinstance(place, int) and Path(place) == path:
                raise PermissionError(errno.EACCES, "Permission denied", str(place))
            return original(place, *args, **named)

        monkeypatch.setattr(owner, name, refused)
