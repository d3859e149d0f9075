"""Whose labels a group learns from, where two groups label the target for each other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uda import watching
from uda.methods.self_training import SelfTraining
from uda.selftraining.mixers import rolled
from uda.structures import Batch, PseudoLabel, Unlabelled

Group = Literal["primary", "secondary"]
NAMES: tuple[Group, Group] = ("primary", "secondary")
Route = Literal["own", "cross", "mean"]
Pair = tuple[SelfTraining, SelfTraining]


@dataclass
class Labels:
    """The pseudo-labels that a group learns from in one step.

    Attributes:
        target: Of the target images, for mixing with the source.
        pair: Of the target images and of the second ones, for mixing target into target; None
            without such a pass.
    """

    target: PseudoLabel
    pair: tuple[PseudoLabel, PseudoLabel] | None = None


class Routing(nn.Module):
    """Makes the labels of two groups from the probabilities of their two teachers.

    Args:
        groups: Both groups; they are used, not held.
        routes: Route of each group.
        target_route: Route of the secondary group's labels for mixing target into target.
        start: Iterations before the routes apply; until then all are `"own"`.
        second: Whether second target images are labelled too.

    Raises:
        ValueError: A route is unknown.
    """

    iteration: Tensor

    def __init__(
        self,
        groups: Pair,
        *,
        routes: tuple[Route, Route],
        target_route: Route,
        start: int,
        second: bool,
    ) -> None:
        super().__init__()
        for route in (*routes, target_route):
            if route not in ("own", "cross", "mean"):
                raise ValueError(f"A label route is one of own, cross, mean, not {route!r}.")
        # A tuple is not registered: the method holds the groups.
        self.groups, self.routes, self.target_route = groups, routes, target_route
        self.start, self.second = start, second
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))
        # The same number on the host, so that no iteration has to wait for the device.
        self._iteration: int | None = 0

    def count(self) -> None:
        """Count an iteration."""
        self._iteration = self.iterations + 1
        self.iteration += 1

    @property
    def iterations(self) -> int:
        """The number of iterations counted so far."""
        if self._iteration is None:
            self._iteration = int(self.iteration)
        return self._iteration

    def both(self, batch: Batch) -> tuple[Labels, Labels]:
        """The labels of both groups; each teacher sees each image once."""
        images = self._images(batch)
        known = [[group.teacher.predict(i.image) for i in images] for group in self.groups]

        def probs(number: int, place: int) -> Tensor:
            return known[number][place]

        return self._labels(0, images, probs), self._labels(1, images, probs)

    def of_group(self, number: int, batch: Batch) -> Labels:
        """The labels of one group alone; only teachers that its routes name are asked."""
        images = self._images(batch)

        @functools.cache
        def probs(teacher: int, place: int) -> Tensor:
            found: Tensor = self.groups[teacher].teacher.predict(images[place].image)
            return found

        return self._labels(number, images, probs)

    def _images(self, batch: Batch) -> list[Unlabelled]:
        target, second = targets_of(batch, second=self.second)
        return [target] if second is None else [target, second]

    def _labels(
        self, number: int, images: list[Unlabelled], probs: Callable[[int, int], Tensor]
    ) -> Labels:
        """The labels of a group; `probs` gives a teacher's probabilities for one of the images."""
        group, other = self.groups[number], 1 - number

        def label(route: Route, place: int) -> PseudoLabel:
            now = self._now(route)
            if now == "mean":
                routed = (probs(number, place) + probs(other, place)) / 2
            else:
                routed = probs(number if now == "own" else other, place)
            valid = images[place].valid
            with watching.phase("selector"):
                pseudo: PseudoLabel = group.selector(routed, valid)
            with watching.group(NAMES[number]):
                watching.pseudo_labels(pseudo, routed, valid)
            return pseudo

        target = label(self.routes[number], 0)
        if number == 0 or not self.second:
            return Labels(target)
        same = self._now(self.target_route) == self._now(self.routes[number])
        first = target if same else label(self.target_route, 0)
        return Labels(target, (first, label(self.target_route, 1)))

    def _now(self, route: Route) -> Route:
        return "own" if self.iterations < self.start else route

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._iteration = None  # read from the buffer when it is next needed


def targets_of(batch: Batch, *, second: bool) -> tuple[Unlabelled, Unlabelled | None]:
    """Target images, and others of them: a second draw, or the same ones in another order.

    Raises:
        ValueError: There are no target images, or a single one and no second draw.
    """
    target = batch.target
    if target is None:
        raise ValueError("DualTeacherStudent needs target images, but the batch has none.")
    if not second:
        return target, None
    return target, batch.second_target or rolled(target)
