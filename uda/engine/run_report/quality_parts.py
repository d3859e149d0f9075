"""Confusion, calibration, and what predictions say without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from uda.engine.run_report.assessment import Assessment
from uda.engine.run_report.curve_parts import FRAME
from uda.engine.run_report.subjects import Gathered, Subject
from uda.evaluation.calibration import expected_calibration_error
from uda.reports import (
    Chart,
    Columns,
    Details,
    HeatMap,
    Notice,
    Part,
    Section,
    Style,
    Table,
    Text,
    line_chart,
)
from uda.reports.page import Cell

_PAIRS = 8  # confusions that are named


def confusion_section(gathered: Gathered) -> Section | None:
    """The confusion matrix of each network; None without inference on labelled images."""
    parts: list[Part] = []
    hidden: list[Part] = []
    for subject in gathered.subjects:
        matrix = _matrix(gathered.assessed(subject))
        if matrix is None:
            continue
        is_base = subject.group is gathered.source_only and bool(gathered.groups)
        shown = subject.network == gathered.network and not is_base
        own: list[Part] = [_heat_map(matrix, subject, gathered.classes)]
        if shown:
            parts.append(Columns([*own, _worst_pairs(matrix, subject, gathered.classes)]))
        else:
            hidden.append(Details(f"Confusion of {subject.label}", own))
    if not parts and not hidden:
        return None
    text = Text(
        "A row is a true class: how many percent of its pixels were predicted as each class. The "
        "diagonal is what was found. A column that is shaded off the diagonal is a class "
        "that swallows others."
    )
    return Section("Confusion", [text, *parts, *hidden])


def calibration_section(gathered: Gathered) -> Section | None:
    """Accuracy against confidence; None without inference on labelled images."""
    lines: dict[str, list[tuple[float, float | None]]] = {"perfect": [(0.0, 0.0), (100.0, 100.0)]}
    styles = {"perfect": Style(0, dashed=True)}
    rows: list[list[Cell]] = []
    for subject in gathered.subjects:
        found = [one for one in gathered.assessed(subject) if one.labelled]
        if not found:
            continue
        bins = np.sum([one.bins for one in found], axis=0)
        lines[subject.label] = _reliability(bins)
        styles[subject.label] = Style(subject.colour, dashed=subject.network == "teacher")
        pixels, confidence, right = bins.sum(1)
        error = expected_calibration_error(torch.from_numpy(bins))
        rows.append([subject.label, 100 * error, 100 * confidence / pixels, 100 * right / pixels,
                     _verdict(error, confidence - right)])  # fmt: skip
    if not rows:
        return None
    svg = line_chart(
        lines, title="Accuracy of pixels by confidence", x_label="confidence (%)",
        y_label="right (%)", styles=styles, frame=FRAME,
    )  # fmt: skip
    text = Text(
        "Of the pixels that a network is so sure of, how many are right? On the dashed line it is "
        "right as often as it is sure; below, it is too sure, and a confidence threshold lets "
        "wrong pseudo-labels through. ECE is the mean distance to that line, weighted by pixels."
    )
    columns = ["network", "ECE (%)", "mean confidence (%)", "pixels right (%)", "in words"]
    table = Table(columns, rows, "Calibration over all labelled pixels.")
    return Section(
        "Calibration",
        [text, Columns([Chart(svg, "15 bins.", "Accuracy of pixels by confidence"), table])],
    )


def unlabelled_section(gathered: Gathered) -> Section | None:
    """Facts about predictions that need no label: confidence, entropy, shares of classes."""
    rows: list[list[Cell]] = []
    shares: dict[str, np.ndarray] = {}
    base = _first(gathered, gathered.subjects[0]) if gathered.source_only else None
    for subject in gathered.subjects:
        one = _first(gathered, subject)
        if one is None:
            continue
        same = None if base is None or base is one else agreement(one, base)
        means = [100 * float(values.mean()) for values in (one.confidence, one.entropy)]
        rows.append([subject.label, *means, None if same is None else 100 * same])
        shares[subject.label] = one.pixels / max(1, one.pixels.sum())
    if not rows:
        return None
    columns = ["network", "mean confidence (%)", "entropy (% of log K)", "as source-only (%)"]
    table = Table(columns, rows, "Means over pixels; the last column is the share of pixels that "
                  "are predicted as source-only predicts them.")  # fmt: skip
    by_class: list[list[Cell]] = [
        [name, *(100 * float(found[number]) for found in shares.values())]
        for number, name in enumerate(gathered.classes)
    ]
    parts: list[Part] = [*_missing(gathered, shares), Columns([
        table, Table(["class", *shares], by_class, "Share of predicted pixels (%).")])]  # fmt: skip
    return Section("Predictions without labels", parts)


def agreement(one: Assessment, other: Assessment) -> float | None:
    """Share of pixels of small predictions that two networks agree on; None for other images."""
    if list(one.files) != list(other.files):
        return None
    pairs = zip(one.predictions, other.predictions, strict=True)
    equal = [float((a == b).mean()) for a, b in pairs if a.shape == b.shape]
    return float(np.mean(equal)) if equal else None


def _missing(gathered: Gathered, shares: dict[str, np.ndarray]) -> list[Part]:
    """Sentences on classes that are never predicted, and on one that takes almost all."""
    parts: list[Part] = []
    for label, share in shares.items():
        absent = [name for name, found in zip(gathered.classes, share, strict=True) if found == 0]
        if absent:
            parts.append(Notice(f"{label} never predicts: {', '.join(absent)}."))
        if share.max() > 0.9:
            name = gathered.classes[int(share.argmax())]
            parts.append(Notice(
                f"{label} predicts {100 * share.max():.0f} % of all pixels as {name}: it has "
                "probably collapsed.", "bad"))  # fmt: skip
    return parts


def _first(gathered: Gathered, subject: Subject) -> Assessment | None:
    return next(iter(gathered.assessed(subject)), None)


def _matrix(found: Sequence[Assessment]) -> np.ndarray | None:
    """The sum over runs; None where there are no labels."""
    labelled = [one.matrices.sum(0) for one in found if one.labelled]
    return np.sum(labelled, axis=0) if labelled else None


def _heat_map(matrix: np.ndarray, subject: Subject, classes: Sequence[str]) -> HeatMap:
    totals = matrix.sum(1)
    values = [
        [None if total == 0 else float(count / total) for count in row]
        for row, total in zip(matrix, totals, strict=True)
    ]
    caption = f"Confusion of {subject.label}, in percent of each true class."
    return HeatMap(list(classes), list(classes), values, caption, "true", "predicted")


def _worst_pairs(matrix: np.ndarray, subject: Subject, classes: Sequence[str]) -> Table:
    """The confusions that cost most pixels."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    total = max(1, int(matrix.sum()))
    order = np.argsort(-wrong, axis=None)[:_PAIRS]
    rows: list[list[Cell]] = []
    for flat in order.tolist():
        truth, predicted = divmod(flat, len(classes))
        count = int(wrong[truth, predicted])
        if count:
            rows.append([classes[truth], classes[predicted], 100 * count / total,
                         100 * count / int(matrix[truth].sum())])  # fmt: skip
    columns = ["true", "predicted as", "of all pixels (%)", "of the class (%)"]
    return Table(columns, rows, f"The confusions of {subject.label} that cost most.", words=2)


def _reliability(bins: np.ndarray) -> list[tuple[float, float | None]]:
    """Accuracy by mean confidence of each bin that has at least one pixel in ten thousand."""
    least = 1e-4 * bins[0].sum()
    return [
        (100 * sure / count, 100 * right / count)
        for count, sure, right in bins.T.tolist()
        if count > least
    ]


def _verdict(error: float, surplus: float) -> str:
    if error < 0.05:
        return "well calibrated"
    return "too sure" if surplus > 0 else "not sure enough"
