"""Charts as SVG that stands inside a page and takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 40
COLOURS = 8  # classes line-0 to line-7 of the page

Point = tuple[float, float | None]


class Mark(NamedTuple):
    """A vertical line.

    Attributes:
        at: Where, in units of the horizontal axis.
        text: What happened, shown when pointed at.
    """

    at: float
    text: str


class _Scale(NamedTuple):
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def line_chart(
    lines: Mapping[str, Sequence[Point]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    marks: Sequence[Mark] = (),
    bands: Sequence[tuple[float, float, str]] = (),
) -> str:
    """SVG of lines over one axis.

    Args:
        lines: Points (x, y) by name; a y that is None or not finite leaves a gap.
        title: What is shown, also for those who do not see it.
        x_label: Of the horizontal axis.
        y_label: Of the vertical axis.
        marks: Vertical lines.
        bands: Parts of the horizontal axis (start, end, name); every second one is shaded.

    Returns:
        One `svg` element, or a paragraph where there is no point.

    >>> svg = line_chart({"a": [(0, 1.0), (1, 3.0)]}, title="t", x_label="x", y_label="y")
    >>> svg.count("<polyline"), "NaN" in svg
    (1, False)
    """
    points = [p for line in lines.values() for p in line if _shown(p)]
    if not points:
        return f"<p>{escape(title)}: nothing was recorded.</p>"
    x = _scale([p[0] for p in points] + [end for _, end, _ in bands], LEFT, WIDTH - RIGHT)
    y = _scale([float(p[1] or 0) for p in points], HEIGHT - BOTTOM, TOP, margin=0.05)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        *_bands(bands, x),
        *_axes(x, y, x_label, y_label),
        *_marks(marks, x),
    ]
    for number, (name, line) in enumerate(lines.items()):
        parts += _polylines(name, line, number % COLOURS, x, y)
    return "".join([*parts, "</svg>", _legend(lines)])


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers in [low, high], about `count` of them.

    >>> ticks(0, 10)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _shown(point: Point) -> bool:
    return point[1] is not None and math.isfinite(point[1])


def _scale(values: Sequence[float], start: float, end: float, margin: float = 0.0) -> _Scale:
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    room = margin * (high - low)
    return _Scale(low - room, high + room, start, end)


def _axes(x: _Scale, y: _Scale, x_label: str, y_label: str) -> list[str]:
    base = HEIGHT - BOTTOM
    parts = []
    for value in ticks(y.low, y.high, 4):
        at = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" '
                     f'y2="{at:.1f}"/>')  # fmt: skip
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in ticks(x.low, x.high, 8):
        parts.append(
            f'<text x="{x(value):.1f}" y="{base + 16}" text-anchor="middle">{value:g}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    turned = f"translate(13 {(TOP + base) / 2}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle">{escape(y_label)}</text>')
    return parts


def _bands(bands: Sequence[tuple[float, float, str]], x: _Scale) -> list[str]:
    height = HEIGHT - BOTTOM - TOP
    return [
        f'<rect class="band{number % 2}" x="{x(start):.1f}" y="{TOP}" '
        f'width="{max(0.0, x(end) - x(start)):.1f}" height="{height}">'
        f"<title>{escape(name)}</title></rect>"
        for number, (start, end, name) in enumerate(bands)
    ]


def _marks(marks: Sequence[Mark], x: _Scale) -> list[str]:
    return [
        f'<line class="mark" x1="{x(mark.at):.1f}" x2="{x(mark.at):.1f}" y1="{TOP}" '
        f'y2="{HEIGHT - BOTTOM}"><title>{escape(mark.text)}</title></line>'
        for mark in marks
        if x.low <= mark.at <= x.high
    ]


def _polylines(name: str, line: Sequence[Point], colour: int, x: _Scale, y: _Scale) -> list[str]:
    """A polyline for each stretch without a gap; a lonely point is a dot."""
    stretches: list[list[str]] = [[]]
    for point in line:
        if not _shown(point):
            stretches.append([])
        else:
            stretches[-1].append(f"{x(point[0]):.1f},{y(float(point[1] or 0)):.1f}")
    parts = []
    for stretch in filter(None, stretches):
        if len(stretch) == 1:
            across, down = stretch[0].split(",")
            shape = f'<circle class="dot-{colour}" cx="{across}" cy="{down}" r="3">'
            parts.append(f"{shape}<title>{escape(name)}</title></circle>")
        else:
            shape = f'<polyline class="line-{colour}" points="{" ".join(stretch)}">'
            parts.append(f"{shape}<title>{escape(name)}</title></polyline>")
    return parts


def _legend(lines: Mapping[str, Sequence[Point]]) -> str:
    keys = "".join(
        f'<li><span class="key key-{number % COLOURS}"></span>{escape(name)}</li>'
        for number, name in enumerate(lines)
    )
    return f'<ul class="legend">{keys}</ul>'
