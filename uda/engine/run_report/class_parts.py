"""Scores: over seeds, and of each class, with what was lost against the source alone."""

from __future__ import annotations

from uda.engine.run_report.groups import told
from uda.engine.run_report.subjects import Gathered, Subject
from uda.reports import Bar, Chart, Columns, Notice, Part, Section, Table, Text, bar_chart
from uda.reports.page import Cell

_LOW = 10.0  # IoU in percent below which a class is said to have failed
_LOSS = 5.0  # points of IoU that a class may lose before it is said


def score_section(gathered: Gathered) -> Section | None:
    """The mIoU of each network: mean, spread, seeds, gain; None where nothing was measured."""
    if not gathered.measured:
        return None
    seeds = [run.seed for subject in gathered.subjects for run in subject.group.runs]
    columns = list(dict.fromkeys(seeds))
    rows: list[list[Cell]] = []
    for subject in gathered.subjects:
        by_seed = _by_seed(gathered, subject)
        row: list[Cell] = [subject.label, told(gathered.miou(subject), 2)]
        gain = gathered.gain(subject)
        row += [None if gain is None else f"{gain:+.2f}", told(gathered.accuracy(subject), 2)]
        rows.append([*row, *(by_seed.get(seed) for seed in columns)])
    names = ["unknown" if seed is None else str(seed) for seed in columns]
    table = Table(
        ["network", "mIoU (%)", "gain (points)", "pixels right (%)", *(f"seed {n}" for n in names)],
        rows,
        "Mean over seeds, ± sample standard deviation; the columns by seed are mIoU.",
    )
    return Section("Scores", [Text(_origin(gathered)), table])


def class_section(gathered: Gathered) -> Section | None:
    """IoU of each class as bars and as a table; None where nothing was measured."""
    if not gathered.measured:
        return None
    subjects = gathered.subjects
    bars = {
        name: {
            subject.label: Bar(found.mean, found.deviation) if found else Bar(None)
            for subject in subjects
            for found in [gathered.class_iou(subject, name)]
        }
        for name in gathered.classes
    }
    svg = bar_chart(
        bars, title="IoU of each class", x_label="IoU (%)", highest=100.0,
        colours=[subject.colour for subject in subjects],
    )  # fmt: skip
    several = any(len(group.runs) > 1 for group in gathered.all_groups)
    whiskers = "Whiskers: one standard deviation over seeds." if several else ""
    parts: list[Part] = list(_findings(gathered))
    parts.append(Columns([Chart(svg, whiskers, "IoU of each class"), _class_table(gathered)]))
    return Section("Classes", parts)


def unmeasured(gathered: Gathered) -> str | None:
    """Why there is no score; None if there is one."""
    if gathered.measured:
        return None
    if any(run.is_validated for run in gathered.runs):
        return (
            "Nothing has been measured on the target yet: no run came to its first validation, "
            "and no network could be compared with labels for this report."
        )
    return (
        "Nothing was measured on the target: there are no target labels to compare with. Figures "
        "that need none tell whether a run is sane, not whether it is good."
    )


def _class_table(gathered: Gathered) -> Table:
    base = gathered.subjects[0] if gathered.source_only is not None else None
    others = gathered.subjects[1:] if base else gathered.subjects
    columns = ["class", *([base.label] if base else [])]
    for subject in others:
        columns += [subject.label, *(["change"] if base else [])]
    rows: list[list[Cell]] = []
    for name in gathered.classes:
        start = gathered.class_iou(base, name) if base else None
        row: list[Cell] = [name, *([told(start)] if base else [])]
        for subject in others:
            found = gathered.class_iou(subject, name)
            row.append(told(found))
            if base:
                row.append(f"{found.mean - start.mean:+.1f}" if found and start else None)
        rows.append(row)
    change = "IoU (%) and the change from source-only in points." if base else "IoU (%)."
    return Table(columns, rows, change)


def _findings(gathered: Gathered) -> list[Part]:
    """Sentences on classes that failed or lost, for the network that is shown."""
    parts: list[Part] = []
    for subject in gathered.subjects:
        if subject.network != gathered.network or subject.group is gathered.source_only:
            continue
        ious = {name: gathered.class_iou(subject, name) for name in gathered.classes}
        failed = [name for name, iou in ious.items() if iou and iou.mean < _LOW]
        if failed:
            parts.append(Notice(
                f"{subject.label}: below {_LOW:.0f} % IoU: {', '.join(failed)}.", "bad"
            ))  # fmt: skip
        lost = _lost(gathered, subject)
        if lost:
            parts.append(Notice(
                f"{subject.label}: worse than source-only by more than {_LOSS:.0f} points: "
                f"{', '.join(lost)}.", "bad"
            ))  # fmt: skip
    return parts


def _lost(gathered: Gathered, subject: Subject) -> list[str]:
    if gathered.source_only is None:
        return []
    base = gathered.subjects[0]
    found = []
    for name in gathered.classes:
        before, after = gathered.class_iou(base, name), gathered.class_iou(subject, name)
        if before and after and after.mean < before.mean - _LOSS:
            found.append(f"{name} ({before.mean:.1f} to {after.mean:.1f})")
    return found


def _by_seed(gathered: Gathered, subject: Subject) -> dict[int | None, float]:
    """The mIoU of each run; of two with one seed, the last."""
    found: dict[int | None, float] = {}
    for run in subject.group.runs:
        alone = subject._replace(group=type(subject.group)(subject.group.label, [run]))
        score = gathered.miou(alone)
        if score is not None:
            found[run.seed] = score.mean
    return found


def _origin(gathered: Gathered) -> str:
    """Where the scores come from."""
    logged = [run for run in gathered.runs if run.scored_at is not None]
    if not logged:
        return f"Scores are those of the {gathered.images_title}, as predicted for this report."
    steps = sorted({run.scored_at or 0 for run in logged})
    where = ", ".join(map(str, steps))
    return (
        f"Scores are those of each run's last validation (iteration {where}). The student is the "
        "network that gets gradients, the teacher its slow average that makes the pseudo-labels."
    )
