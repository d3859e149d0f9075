"""The page that shows what an adaptation did on a stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from uda.engine.pictures import colour_label
from uda.engine.segmentor_stream import Panel, StreamResult
from uda.reports import (
    Chart,
    Legend,
    Mark,
    Page,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    data_uri,
    line_chart,
)
from uda.structures import IGNORE_INDEX

Runs = Mapping[str, Mapping[str, Any]]
_CURVES = (
    ("mIoU", "mIoU of the last 50 images (%)"),
    ("entropy", "entropy as a share of log K"),
    ("agreement", "pixels as the unadapted model predicts them (%)"),
    ("latency_ms", "time of a call (ms)"),
)


def stream_page(
    result: StreamResult,
    *,
    settings: Mapping[str, Any],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
) -> Page:
    """Scores, curves, classes, pictures and settings of a stream on one page.

    Args:
        result: From `run_stream`; the first run is the unadapted model.
        settings: What the run was told.
        classes: Names.
        palette: RGB colour of each class.
    """
    runs = result.runs
    images = next(iter(runs.values()))["images"]
    sections = [
        Section("Result", [_result_table(runs)]),
        *_visit_sections(runs),
        Section("Over the stream", _charts(runs)),
        *_class_sections(runs),
        *_picture_sections(result.panels, classes, palette),
        Section("What the guard did", _guard_parts(runs)),
        Section("Settings", [_settings_table(settings)]),
    ]
    lead = (
        f"{images} images, each scored by the prediction made when it came. Every model saw the "
        "same images; differences are to the unadapted model."
    )
    return Page("Test-time adaptation on a stream", sections, lead)


def difference(value: float | None, base: float | None) -> float | None:
    """The gain over the base in points, None where one of them is not known."""
    return None if value is None or base is None else value - base


def _result_table(runs: Runs) -> Table:
    columns = ["model", "mIoU (%)", "difference", "p50 (ms)", "p95 (ms)", "peak memory (MiB)",
               "updates", "served adapted", "rollbacks"]  # fmt: skip
    base = next(iter(runs.values()))["mIoU"]
    rows = []
    for name, run in runs.items():
        report = run["report"] or {}
        guard = report.get("guard") or {}
        rows.append(
            [
                name,
                run["mIoU"],
                difference(run["mIoU"], base),
                run["latency_p50_ms"],
                run["latency_p95_ms"],
                run["peak_memory_mib"],
                report.get("updates"),
                guard.get("served_adapted"),
                guard.get("rollbacks"),
            ]
        )
    return Table(columns, rows, "Times are of a call; memory counts all models of this run.")


def _visit_sections(runs: Runs) -> list[Section]:
    """Scores by round and domain, where there is more than one visit."""
    visits = next(iter(runs.values()))["visits"]
    if len(visits) < 2 or all(visit["mIoU"] is None for visit in visits):
        return []
    domains = list(dict.fromkeys(visit["domain"] for visit in visits))
    rows = []
    means: dict[str, list[tuple[float, float | None]]] = {name: [] for name in runs}
    for number in dict.fromkeys(visit["round"] for visit in visits):
        for name, run in runs.items():
            scores = {v["domain"]: v["mIoU"] for v in run["visits"] if v["round"] == number}
            mean = mean_of(scores.values())
            means[name].append((number, mean))
            rows.append([f"{number}", name, *(scores.get(d) for d in domains), mean])
    table = Table(["round", "model", *domains, "mean"], rows, "mIoU (%) of each visit by itself.")
    if len(rows) == len(runs):
        return [Section("Domains", [table])]
    svg = line_chart(
        means, title="Mean over domains by round", x_label="round", y_label="mean mIoU (%)"
    )
    return [Section("Domains and rounds", [Chart(svg), table])]


def mean_of(values: Any) -> float | None:
    """The mean of the values that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _charts(runs: Runs) -> list[Chart]:
    marks = [
        Mark(event["image"], f"{name}: rolled back at image {event['image']}, {event['kind']}")
        for name, run in runs.items()
        for event in run["events"]
    ]
    bands, start = [], 0
    for visit in next(iter(runs.values()))["visits"]:
        end = start + visit["images"]
        bands.append((start, end, f"{visit['domain']}, round {visit['round']}"))
        start = end
    charts = []
    for key, label in _CURVES:
        lines = {name: [(p["image"], p[key]) for p in run["curve"]] for name, run in runs.items()}
        if all(value is None for line in lines.values() for _, value in line):
            continue
        svg = line_chart(
            lines, title=label, x_label="images", y_label=key.replace("_ms", " (ms)"),
            marks=marks, bands=bands if len(bands) > 1 else (),
        )  # fmt: skip
        caption = "Dashed lines: the guard took an adaptation back." if marks else ""
        charts.append(Chart(svg, f"{label}. {caption}".strip()))
    return charts


def _class_sections(runs: Runs) -> list[Section]:
    base, *others = runs.items()
    if base[1]["IoU"] is None:
        return []
    columns = ["class", base[0]]
    for name, _ in others:
        columns += [name, "difference"]
    rows = []
    for label, value in base[1]["IoU"].items():
        row: list[Any] = [label, value]
        for _, run in others:
            row += [run["IoU"][label], difference(run["IoU"][label], value)]
        rows.append(row)
    return [Section("Classes", [Table(columns, rows, "IoU (%) over the whole stream.")])]


def _picture_sections(
    panels: Sequence[Panel], classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> list[Section]:
    if not panels:
        return []
    names = list(classes)
    parts: list[Any] = [Legend([*zip(names, palette, strict=False), ("ignored", (0, 0, 0))])]
    for panel in panels:
        maps = {} if panel.label is None else {"truth": panel.label}
        maps.update(panel.predictions)
        where = f"image {panel.image}, {panel.domain}, round {panel.round}"
        pictures = [Picture(data_uri(panel.pixels), f"input of {where}")]
        for name, label in maps.items():
            colours = colour_label(torch.from_numpy(label), palette)
            pictures.append(Picture(data_uri(colours, exact=True), f"{name}{_right(panel, name)}"))
        parts.append(Pictures(pictures, where.capitalize()))
    return [Section("Side by side", parts)]


def _right(panel: Panel, name: str) -> str:
    """Share of pixels that are right, for a prediction with a truth."""
    if panel.label is None or name not in panel.predictions:
        return ""
    known = panel.label != IGNORE_INDEX
    if not known.any():
        return ""
    right = (panel.predictions[name] == panel.label)[known].mean()
    return f", {100 * right:.1f} % of pixels right"


def _guard_parts(runs: Runs) -> list[Any]:
    rows = []
    for name, run in runs.items():
        guard = (run["report"] or {}).get("guard")
        if guard is None:
            continue
        reasons = ", ".join(f"{count} {kind}" for kind, count in guard["reasons"].items())
        rows.append(
            [
                name,
                guard["batches"],
                guard["served_adapted"],
                guard["blank"],
                run["report"]["frames_not_finite"],
                guard["rollbacks"],
                reasons or "none",
            ]
        )
    if not rows:
        return [Text("No guard watched this adaptation.")]
    columns = ["model", "batches watched", "served adapted", "blank", "not finite", "rollbacks",
               "reasons"]  # fmt: skip
    return [Table(columns, rows, "The unadapted model answers for all that is not served adapted.")]


def _settings_table(settings: Mapping[str, Any]) -> Table:
    rows = [[name, str(value)] for name, value in settings.items() if value is not None]
    return Table(["setting", "value"], rows)
