"""What a step tells: nothing outside of a watched step, everything inside, also after an error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from uda import watching
from uda.structures import PseudoLabel


class Notes:
    """A watch that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def enter(self, name: str) -> None:
        self.heard.append(f"+{name}")

    def leave(self) -> None:
        self.heard.append("-")

    def step_aside(self, name: str) -> None:
        self.heard.append(f"aside {name}")

    def step_back(self) -> None:
        self.heard.append("back")

    def enter_group(self, name: str) -> None:
        self.heard.append(f"group {name}")

    def leave_group(self) -> None:
        self.heard.append("ungroup")

    def lap(self, name: str) -> None:
        self.heard.append(f"lap {name}")

    def source_labels(self, label: Tensor) -> None:
        self.heard.append("source")

    def pseudo_labels(
        self, pseudo: PseudoLabel, scores: Tensor, valid: Tensor | None, *, logits: bool
    ) -> None:
        self.heard.append(("labels", valid, logits))

    def answers(self, logits: Tensor, label: Tensor, pasted: Tensor | None) -> None:
        self.heard.append(("answers", pasted))


def tell() -> None:
    """A step that uses every function."""
    label = torch.zeros(1, 2, 2, dtype=torch.int64)
    weight = torch.ones(1, 2, 2)
    with watching.phase("teacher"):
        watching.pseudo_labels(PseudoLabel(label, weight, weight), torch.ones(1, 1, 2, 2))
    with watching.group("primary"), watching.aside("look_ahead"):
        watching.source_labels(label)
    watching.answers(torch.ones(1, 1, 2, 2), label)
    watching.lap("mixed")


def test_watching_values() -> None:
    """Told in order to the watch of the step, and to nobody before and after it."""
    notes = Notes()
    tell()
    with watching.watched_by(notes):
        tell()
        with watching.watched_by(None):
            tell()
    tell()
    assert notes.heard == [
        "+teacher",
        ("labels", None, False),
        "-",
        "group primary",
        "aside look_ahead",
        "source",
        "back",
        "ungroup",
        ("answers", None),
        "lap mixed",
    ]


def test_watching_errors() -> None:
    """An error in a phase ends what was begun, and the watching."""
    notes = Notes()
    with (
        pytest.raises(RuntimeError, match="lost"),
        watching.watched_by(notes),
        watching.group("primary"),
        watching.aside("look_ahead"),
        watching.phase("ema"),
    ):
        raise RuntimeError("lost")
    tell()
    assert notes.heard == ["group primary", "aside look_ahead", "+ema", "-", "back", "ungroup"]
