"""Images on which a run does best and worst: input, truth, source-only and adapted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from uda.engine.pictures import colour_label
from uda.engine.run_report.assessment import WIDTH, Assessment
from uda.engine.run_report.groups import Group
from uda.engine.run_report.subjects import Gathered, Subject
from uda.evaluation.confusion import mean_iou
from uda.reports import Legend, Part, Picture, Pictures, Section, Text, data_uri

IMAGES = 3  # of the best, and as many of the worst


class _View(NamedTuple):
    """One network on the images, found by their paths."""

    label: str
    assessment: Assessment
    places: dict[str, int]


def picture_section(gathered: Gathered, images: int = IMAGES) -> Section | None:
    """Best and worst images of the first run of each group; None without inference."""
    parts: list[Part] = []
    for group in gathered.groups or gathered.all_groups:
        parts += _group_parts(gathered, group, images)
    if not parts:
        return None
    names = [*zip(gathered.classes, gathered.palette, strict=False), ("ignored", (0, 0, 0))]
    return Section("Best and worst images", [Legend(names), *parts])


def image_scores(assessment: Assessment) -> np.ndarray:
    """(N,) how good each image is: its mean IoU, or minus its entropy where there is no label."""
    if not assessment.labelled:
        return -assessment.entropy
    return np.array([_miou(matrix) for matrix in assessment.matrices])


def best_and_worst(scores: np.ndarray, images: int) -> tuple[list[int], list[int]]:
    """Indices of the best, best first, and of the worst, worst first; none in both.

    >>> best_and_worst(np.array([0.5, 0.9, 0.1]), 2)
    ([1], [2])
    """
    known = [index for index in np.argsort(scores).tolist() if not np.isnan(scores[index])]
    count = min(images, len(known) // 2) or len(known)
    return known[::-1][:count], known[:count] if len(known) > 1 else []


def _group_parts(gathered: Gathered, group: Group, images: int) -> list[Part]:
    views = _views(gathered, group)
    chosen = next((v for v in views if v.label == _shown(gathered, group).label), None)
    if chosen is None:
        return []
    scores = image_scores(chosen.assessment)
    best, worst = best_and_worst(scores, images)
    how = "mean IoU of the image" if chosen.assessment.labelled else "entropy, for want of labels"
    parts: list[Part] = [Text(f"Chosen by {chosen.label}, seed {group.first.seed}, by {how}.")]
    for name, indices in (("best", best), ("worst", worst)):
        for rank, index in enumerate(indices, start=1):
            file = chosen.assessment.files[index]
            caption = f"{name.capitalize()} {rank}: {Path(file).name}"
            parts.append(Pictures(_row(gathered, views, file, chosen, index), caption))
    return parts


def _views(gathered: Gathered, group: Group) -> list[_View]:
    """Source-only first, then the networks of the group."""
    subjects = [s for s in gathered.subjects if s.group in (gathered.source_only, group)]
    found = []
    for subject in subjects:
        one = gathered.assessments.get(subject.group.first.folder, {}).get(subject.network)
        if one is not None:
            places = {file: index for index, file in enumerate(one.files)}
            found.append(_View(subject.label, one, places))
    return found


def _shown(gathered: Gathered, group: Group) -> Subject:
    own = [subject for subject in gathered.subjects if subject.group is group]
    return next((subject for subject in own if subject.network == gathered.network), own[0])


def _row(
    gathered: Gathered, views: list[_View], file: str, chosen: _View, index: int
) -> list[Picture]:
    pictures = []
    image = cv2.imread(file, cv2.IMREAD_COLOR)
    if image is not None:
        pictures.append(Picture(data_uri(image[..., ::-1], width=WIDTH), "input"))
    if chosen.assessment.truths:
        truth = chosen.assessment.truths[index]
        pictures.append(Picture(_coloured(gathered, truth), "truth"))
    for view in views:
        place = view.places.get(file)
        if place is None:
            continue
        told = view.label
        if view.assessment.labelled:
            told += f", IoU {100 * _miou(view.assessment.matrices[place]):.1f} %"
        else:
            told += f", confidence {100 * view.assessment.confidence[place]:.1f} %"
        pictures.append(Picture(_coloured(gathered, view.assessment.predictions[place]), told))
    return pictures


def _coloured(gathered: Gathered, label: np.ndarray) -> str:
    colours = colour_label(torch.from_numpy(np.ascontiguousarray(label)), gathered.palette)
    return data_uri(colours, width=WIDTH, exact=True)


def _miou(matrix: np.ndarray) -> float:
    return mean_iou(torch.from_numpy(np.ascontiguousarray(matrix))).value
