"""What a report compares: networks of groups of runs, and what is known of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from uda.engine.run_report.assessment import Assessment
from uda.engine.run_report.groups import Group, Spread, spread_of
from uda.engine.run_report.reading import NETWORKS, ReportedRun
from uda.evaluation.confusion import iou_from_matrix, mean_iou, overall_accuracy


class Subject(NamedTuple):
    """One network of a group of runs.

    Attributes:
        label: For legends and columns.
        group: The runs.
        network: `"student"` or `"teacher"`.
        colour: Of the charts.
    """

    label: str
    group: Group
    network: str
    colour: int


@dataclass(frozen=True)
class Gathered:
    """Everything that a page is made of.

    Attributes:
        groups: Runs by method, without those of the source alone.
        source_only: Runs that learnt from the source alone; None without one.
        classes: Names.
        palette: RGB colour of each class.
        assessments: By folder of the run and network.
        images_title: What the assessed images are.
        network: The one that is shown where one has to be chosen.
        problems: Sentences about what could not be had.
        skipped: Whether networks were not to be run.
    """

    groups: Sequence[Group]
    source_only: Group | None
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    assessments: Mapping[Path, Mapping[str, Assessment]] = field(default_factory=dict)
    images_title: str = "validation images"
    network: str = "student"
    problems: Sequence[str] = field(default_factory=tuple)
    skipped: bool = False

    @property
    def all_groups(self) -> list[Group]:
        """All, the source-only one first."""
        return [*([self.source_only] if self.source_only else []), *self.groups]

    @property
    def runs(self) -> list[ReportedRun]:
        """All runs of all groups."""
        return [run for group in self.all_groups for run in group.runs]

    @property
    def subjects(self) -> list[Subject]:
        """The networks that are compared, the source-only one first."""
        found: list[Subject] = []
        number = 0
        if self.source_only is not None:
            found.append(Subject(self.source_only.label, self.source_only, "student", 0))
        for group in self.groups:
            for network in self.networks(group):
                label = f"{group.label}, {network}"
                found.append(Subject(label, group, network, 1 + number % 7))
                number += 1
        return found

    def networks(self, group: Group) -> list[str]:
        """The networks of a group that anything is known of; the student in any case."""
        known = set()
        for run in group.runs:
            known |= {name.partition("/")[0] for name in run.last_scores}
            known |= set(self.assessments.get(run.folder, {}))
        return [name for name in NETWORKS if name in known or name == "student"]

    def assessed(self, subject: Subject) -> list[Assessment]:
        """The assessments of a subject over its runs."""
        found = (self.assessments.get(run.folder, {}) for run in subject.group.runs)
        return [
            by_network[subject.network] for by_network in found if subject.network in by_network
        ]

    def miou(self, subject: Subject) -> Spread | None:
        """Mean IoU in percent over the runs, as validated, or as assessed where it was not."""
        logged = subject.group.score(f"{subject.network}/mIoU")
        return logged or self._measured(subject, lambda one: mean_iou(one.matrix).value)

    def accuracy(self, subject: Subject) -> Spread | None:
        """Share of pixels predicted rightly, in percent."""
        logged = subject.group.score(f"{subject.network}/aAcc")
        return logged or self._measured(subject, lambda one: overall_accuracy(one.matrix))

    def class_iou(self, subject: Subject, name: str) -> Spread | None:
        """IoU of a class in percent."""
        logged = subject.group.score(f"{subject.network}/IoU.{name}")
        number = list(self.classes).index(name)
        return logged or self._measured(
            subject, lambda one: float(iou_from_matrix(one.matrix)[number])
        )

    def _measured(self, subject: Subject, score: Callable[[Assessment], float]) -> Spread | None:
        found = [score(one) for one in self.assessed(subject) if one.labelled]
        return spread_of(100 * value for value in found if value == value)

    @property
    def measured(self) -> bool:
        """Whether any network was compared with labels of the target."""
        return any(self.miou(subject) is not None for subject in self.subjects)

    def gain(self, subject: Subject) -> float | None:
        """Points of mIoU above source-only; None where one of the two is not known."""
        if self.source_only is None or subject.group is self.source_only:
            return None
        ours = self.miou(subject)
        base = self.miou(self.subjects[0])
        return None if ours is None or base is None else ours.mean - base.mean
