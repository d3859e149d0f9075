"""Parity of the training step around foundation encoders (family `vfm`): the checks of losses,
pseudo-labels, mixing, schedule, parameter groups and parameter-efficient tuning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.parity.rows import Row

# A check moves from WAITING to CHECKS when it is written; see `tests.parity.vfm_models`.
CHECKS: Mapping[str, Callable[[Path], list[Row]]] = {}
WAITING: Mapping[str, str] = dict.fromkeys(
    ("ema", "feature_distance", "lr_groups", "mix", "peft", "pseudo", "scheduler"),
    "foundation encoders",
)
