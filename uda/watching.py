"""What a training step tells whoever watches it: how long its phases take, and what it sees.

Parts call these functions where something worth a curve happens: a phase begins, a teacher labels
the target, the student answers. Inside `watched_by`, which the engine opens around a training step,
a `Watch` hears of it. Everywhere else, in an evaluation or in somebody else's loop, the calls do
nothing. No call draws random numbers, changes a tensor or has a result.

A phase must not stay open across a `yield`: what runs in between would be counted as its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from torch import Tensor

from uda.structures import PseudoLabel


class Watch(Protocol):
    """Who wants to know; see the functions of the same names."""

    def enter(self, name: str) -> None:
        """A phase begins."""

    def leave(self) -> None:
        """The innermost phase ends."""

    def step_aside(self, name: str) -> None:
        """Until `step_back` everything belongs to one phase, and nothing else is told."""

    def step_back(self) -> None:
        """The end of that."""

    def enter_group(self, name: str) -> None:
        """What follows belongs to a group."""

    def leave_group(self) -> None:
        """The end of that."""

    def lap(self, name: str) -> None:
        """Names the time since the last lap that no phase has taken."""

    def source_labels(self, label: Tensor) -> None:
        """Labels of source images."""

    def pseudo_labels(
        self, pseudo: PseudoLabel, scores: Tensor, valid: Tensor | None, *, logits: bool
    ) -> None:
        """Pseudo-labels with what they were made of."""

    def answers(self, logits: Tensor, label: Tensor, pasted: Tensor | None) -> None:
        """What the student predicts where a pseudo-label says something."""


_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watched_by(watch: Watch | None) -> Iterator[None]:
    """A training step of which `watch` hears; None: nobody."""
    token = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(token)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """A phase of the step; its time is its own, without the phases inside it."""
    watch = _WATCH.get()
    if watch is None:
        yield
        return
    watch.enter(name)
    try:
        yield
    finally:
        watch.leave()


@contextmanager
def aside(name: str) -> Iterator[None]:
    """Something like a step that is none, such as virtual steps: one phase, and nothing is told."""
    watch = _WATCH.get()
    if watch is None:
        yield
        return
    watch.step_aside(name)
    try:
        yield
    finally:
        watch.step_back()


@contextmanager
def group(name: str) -> Iterator[None]:
    """A part of the step with pseudo-labels of its own, such as one of two coupled students."""
    watch = _WATCH.get()
    if watch is None:
        yield
        return
    watch.enter_group(name)
    try:
        yield
    finally:
        watch.leave_group()


def lap(name: str) -> None:
    """Name the time since the last lap that no phase has taken: a pass is known when it is over."""
    watch = _WATCH.get()
    if watch is not None:
        watch.lap(name)


def source_labels(label: Tensor) -> None:
    """Tell which classes the source images have.

    Args:
        label: (N, H, W) int64, 255 is ignored.
    """
    watch = _WATCH.get()
    if watch is not None:
        watch.source_labels(label)


def pseudo_labels(
    pseudo: PseudoLabel, scores: Tensor, valid: Tensor | None = None, *, logits: bool = False
) -> None:
    """Tell which pseudo-labels the student learns from, and what they were made of.

    Args:
        pseudo: From a selector.
        scores: (N, K, H, W) probabilities that were selected from; of two teachers (2, N, K, H, W).
            Where labels come from elsewhere, what the student makes of the images.
        valid: (N, H, W) bool, False in padding; None: all pixels count.
        logits: Whether `scores` are logits.
    """
    watch = _WATCH.get()
    if watch is not None:
        watch.pseudo_labels(pseudo, scores, valid, logits=logits)


def answers(logits: Tensor, label: Tensor, pasted: Tensor | None = None) -> None:
    """Tell what the student says to images with pseudo-labels.

    Args:
        logits: (N, K, H, W) of the student.
        label: (N, H, W) int64 that it learns from, 255 where there is none.
        pasted: (N, 1, H, W) bool, True where the label is one of the source; None: nowhere.
    """
    watch = _WATCH.get()
    if watch is not None:
        watch.answers(logits, label, pasted)
