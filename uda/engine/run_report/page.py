"""The page of one or several runs."""

from __future__ import annotations

import numpy as np
import torch

from uda.engine.run_report.class_parts import class_section, score_section, unmeasured
from uda.engine.run_report.curve_parts import (
    health_section,
    loss_section,
    other_section,
    validation_section,
)
from uda.engine.run_report.groups import told as text_of
from uda.engine.run_report.picture_parts import picture_section
from uda.engine.run_report.quality_parts import (
    calibration_section,
    confusion_section,
    unlabelled_section,
)
from uda.engine.run_report.record_parts import cost_section, record_section
from uda.engine.run_report.subjects import Gathered, Subject
from uda.evaluation.calibration import expected_calibration_error
from uda.reports import Card, Cards, Notice, Page, Part, Section


def report_page(gathered: Gathered) -> Page:
    """All sections for which there is something to show.

    Args:
        gathered: Runs, and what their networks do.
    """
    sections = [
        _glance(gathered),
        score_section(gathered),
        class_section(gathered),
        picture_section(gathered),
        confusion_section(gathered),
        calibration_section(gathered),
        unlabelled_section(gathered),
        validation_section(gathered),
        health_section(gathered),
        loss_section(gathered),
        other_section(gathered),
        cost_section(gathered),
        record_section(gathered),
    ]
    names = ", ".join(group.label for group in gathered.groups or gathered.all_groups)
    if gathered.groups and gathered.source_only is not None:
        names += " against source-only"
    count = len(gathered.runs)
    lead = f"{count} run{'s' * (count > 1)}. Scores and images are of the target."
    return Page(f"Training report: {names}", [one for one in sections if one is not None], lead)


def _glance(gathered: Gathered) -> Section:
    """What went wrong, and the figures that matter."""
    parts: list[Part] = [Notice(problem, "bad") for problem in gathered.problems]
    if gathered.source_only is None:
        parts.append(
            Notice(
                "There is no source-only run to compare with, so that nothing here says whether "
                "adaptation helped; give one by --source-only RUN."
            )
        )
    if gathered.skipped:
        told = "Networks were not run (--no-inference): no confusion, calibration and pictures."
        parts.append(Notice(told))
    if not parts:
        told = "All runs have completed, and everything they left could be read."
        parts.append(Notice(told, "good"))
    why = unmeasured(gathered)
    if why is not None:
        parts.insert(0, Notice(why))
    subjects = gathered.subjects
    cards = [card for subject in subjects for card in _score_cards(gathered, subject)]
    cards += [card for subject in subjects for card in _calibration_card(gathered, subject)]
    if why is not None:
        cards += [card for subject in subjects for card in _confidence_card(gathered, subject)]
    return Section("At a glance", [*parts, Cards(cards)] if cards else parts)


def _score_cards(gathered: Gathered, subject: Subject) -> list[Card]:
    score = gathered.miou(subject)
    if score is None:
        return []
    gain = gathered.gain(subject)
    note = "the line to beat" if subject.group is gathered.source_only else ""
    if gain is not None:
        note = f"{gain:+.1f} points from source-only"
    return [Card(f"{text_of(score)} %", f"mIoU, {subject.label}", note)]


def _calibration_card(gathered: Gathered, subject: Subject) -> list[Card]:
    found = [one for one in gathered.assessed(subject) if one.labelled]
    if not found or subject.network != gathered.network or subject.group is gathered.source_only:
        return []
    bins = torch.from_numpy(np.sum([one.bins for one in found], axis=0))
    error = 100 * expected_calibration_error(bins)
    return [Card(f"{error:.1f} %", f"calibration error, {subject.label}", "0 is perfect")]


def _confidence_card(gathered: Gathered, subject: Subject) -> list[Card]:
    """For want of a score."""
    found = [float(one.confidence.mean()) for one in gathered.assessed(subject)]
    if not found:
        return []
    return [Card(f"{100 * np.mean(found):.1f} %", f"mean confidence, {subject.label}")]
