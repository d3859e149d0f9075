"""Curves of what runs logged, as charts with their values in a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from uda.engine.run_report.groups import Group
from uda.engine.run_report.scalars import Kind, by_class, kind_of, names_of, series, thinned
from uda.engine.run_report.subjects import Gathered
from uda.reports import (
    Chart,
    Columns,
    Details,
    Frame,
    Part,
    Section,
    Stack,
    Style,
    Table,
    Text,
    line_chart,
    strip_chart,
)
from uda.reports.charts import COLOURS, Point

FRAME = Frame(440, 270)
_ROWS = 12  # of a table of values
_CELLS = 60  # of a strip; each is an element of the page
Area = list[tuple[float, float, float]]


def curve_chart(
    lines: Mapping[str, Sequence[Point]],
    title: str,
    *,
    y_label: str,
    styles: Mapping[str, Style] | None = None,
    areas: Mapping[str, Area] | None = None,
    caption: str = "",
) -> list[Part]:
    """A chart over iterations, and its values for those who want them in digits."""
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return []
    svg = line_chart(
        lines, title=title, x_label="iteration", y_label=y_label, styles=styles, areas=areas,
        frame=FRAME,
    )  # fmt: skip
    return [Stack([Chart(svg, caption, title), values(lines, title)])]


def values(lines: Mapping[str, Sequence[Point]], title: str) -> Details:
    """Some of the values of a chart as a table."""
    shown = {name: dict(thinned(line, _ROWS)) for name, line in lines.items()}
    steps = sorted({step for line in shown.values() for step in line})
    rows = [[f"{step:g}", *(line.get(step) for line in shown.values())] for step in steps]
    return Details("Values", [Table(["iteration", *shown], rows, title, digits=4)])


def over_seeds(group: Group, name: str, *, scores: bool = False) -> tuple[list[Point], Area]:
    """The mean of a logged number over a group's runs, and from lowest to highest.

    Args:
        group: The runs.
        name: Of the number.
        scores: Of validations, not of training.

    Returns:
        Points at the iterations that any run has a finite number of; no area for a single run.
    """
    logs = [run.log.scores if scores else run.log.training for run in group.runs]
    found: dict[int, list[float]] = {}
    for log in logs:
        for step, logged in log.items():
            if math.isfinite(logged.get(name, math.nan)):
                found.setdefault(step, []).append(logged[name])
    steps = sorted(found)
    mean = thinned([(step, sum(found[step]) / len(found[step])) for step in steps])
    if len(logs) < 2:
        return mean, []
    low = thinned([(step, min(found[step])) for step in steps])
    high = thinned([(step, max(found[step])) for step in steps])
    return mean, [
        (at, float(lowest or 0), float(highest or 0))
        for (at, lowest), (_, highest) in zip(low, high, strict=True)
    ]


def loss_section(gathered: Gathered) -> Section:
    """Total loss of all groups, then each group by terms, accuracies and learning rates."""
    together = [
        *_across(gathered, "loss", "Total loss", "loss"),
        *_across(gathered, "base_lr", "Learning rate", "rate"),
    ]
    parts: list[Part] = []
    if together:
        parts.append(Columns(together))
    for group in gathered.all_groups:
        own = [
            *_kind(gathered, group, "loss", f"Losses of {group.label} by term", "loss"),
            *_rates(group),
            *_kind(gathered, group, "accuracy", f"Accuracy in training, {group.label}", "%"),
        ]
        if own:
            parts.append(Columns(own))
    if not parts:
        parts.append(Text("No loss was logged."))
    elif any(len(group.runs) > 1 for group in gathered.all_groups):
        parts.insert(0, Text("Lines are means over seeds, shaded from the lowest to the highest."))
    return Section("Losses and learning rates", parts)


def validation_section(gathered: Gathered) -> Section:
    """Scores over the run, for student and teacher."""
    parts: list[Part] = []
    for score, title in (("mIoU", "Mean IoU"), ("aAcc", "Share of pixels predicted rightly")):
        lines, areas, styles = {}, {}, {}
        for subject in gathered.subjects:
            line, area = over_seeds(subject.group, f"{subject.network}/{score}", scores=True)
            lines[subject.label] = line
            styles[subject.label] = Style(subject.colour, dashed=subject.network == "teacher")
            if area:
                areas[subject.label] = area
        parts += curve_chart(
            lines, title, y_label="%", styles=styles, areas=areas, caption="Teachers are dashed."
        )
    if not parts:
        return Section("Validation", [Text(
            "No validation took place: there are no labelled target images, or the run had not "
            "come to its first one.")])  # fmt: skip
    return Section("Validation", [Columns(parts)])


def health_section(gathered: Gathered) -> Section:
    """Whatever a run logged about its pseudo-labels, and about its predictions without labels."""
    parts: list[Part] = []
    for group in gathered.groups:
        own = _kind(gathered, group, "health", f"{group.label}", "")
        if own:
            parts.append(Columns(own))
    free = _unlabelled_scores(gathered)
    if free:
        parts.append(Columns(free))
    if not parts:
        parts.append(Text("These runs logged nothing about pseudo-labels."))
    else:
        parts.insert(0, Text(
            "None of these figures looks at a target label. Signs of trouble: a kept share or "
            "weight that falls to 0 or jumps to 1 within a few iterations, one class that takes "
            "most pixels, a class that is never kept."))  # fmt: skip
    return Section("Pseudo-labels over time", parts)


def other_section(gathered: Gathered) -> Section | None:
    """Logged numbers that belong nowhere else; None if there are none."""
    parts: list[Part] = []
    for group in gathered.all_groups:
        own = _kind(gathered, group, "other", group.label, "")
        if own:
            parts.append(Columns(own))
    return Section("Other logged values", parts) if parts else None


def _across(gathered: Gathered, name: str, title: str, y_label: str) -> list[Part]:
    """One number of all groups in one chart."""
    lines, areas, styles = {}, {}, {}
    for number, group in enumerate(gathered.all_groups):
        first = 0 if gathered.source_only is not None else 1
        lines[group.label], area = over_seeds(group, name)
        styles[group.label] = Style((number + first) % COLOURS)
        if area:
            areas[group.label] = area
    return curve_chart(lines, title, y_label=y_label, styles=styles, areas=areas)


def _kind(gathered: Gathered, group: Group, kind: Kind, title: str, y_label: str) -> list[Part]:
    """The numbers of one kind of a group: one chart for losses, else one for each scale."""
    logged = {step: line for run in group.runs for step, line in run.log.training.items()}
    single, each = by_class(names_of(logged, kind), gathered.classes)
    parts: list[Part] = []
    if kind in ("loss", "accuracy"):
        parts += _lines(group, [name for name in single if name != "loss"], title, y_label)
    else:
        for last, names in _by_last(single).items():
            told = last.replace("_", " ")
            parts += _lines(group, names, f"{told.capitalize()}, {title}", y_label or told)
    for name, members in each.items():
        log = group.first.log.training
        rows = {label: thinned(series(log, key), _CELLS) for label, key in members.items()}
        shown = f"{name} of each class, {title}"
        svg = strip_chart(rows, title=shown, x_label="iteration")
        parts.append(Stack([Chart(svg, title=shown), values(rows, shown)]))
    return parts


def _by_last(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by their last word: what means the same has the same scale."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rsplit("/", 1)[-1], []).append(name)
    return found


def _lines(group: Group, names: Sequence[str], title: str, y_label: str) -> list[Part]:
    lines, areas = {}, {}
    for name in names:
        lines[name], area = over_seeds(group, name)
        if area:
            areas[name] = area
    return curve_chart(lines, title, y_label=y_label, areas=areas)


def _rates(group: Group) -> list[Part]:
    """Learning rates by what learns at them, where a hook logged them."""
    logged = {step: line for run in group.runs for step, line in run.log.training.items()}
    names = [name for name in names_of(logged, "rate") if "/" in name]
    return _lines(group, names, f"Learning rates of {group.label}", "rate")


def _unlabelled_scores(gathered: Gathered) -> list[Part]:
    """What validations logged beside scores with labels: criteria that need none."""
    parts: list[Part] = []
    for group in gathered.groups:
        names = dict.fromkeys(
            name for run in group.runs for line in run.log.scores.values() for name in line
        )
        known = ("mIoU", "IoU.", "aAcc", "mAcc")
        free = [
            name
            for name in names
            if not name.rsplit("/", 1)[-1].startswith(known)
            and kind_of(name) not in ("time", "memory")
        ]
        for last, members in _by_last(by_class(free, gathered.classes)[0]).items():
            lines = {name: over_seeds(group, name, scores=True)[0] for name in members}
            told = last.replace("_", " ")
            title = f"{told.capitalize()} at each validation, {group.label}"
            parts += curve_chart(lines, title, y_label=told)
    return parts
