"""Charts of lines as SVG that stands inside a page and takes its colours from the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 14, 40
COLOURS = 8  # classes line-0 to line-7 of the page
_WIDE = 500  # from here on a chart is scrolled, not shrunk, on a narrow screen

Point = tuple[float, float | None]


class Mark(NamedTuple):
    """A vertical line.

    Attributes:
        at: Where, in units of the horizontal axis.
        text: What happened, shown when pointed at.
    """

    at: float
    text: str


class Style(NamedTuple):
    """How a line is drawn.

    Attributes:
        colour: 0 to `COLOURS` - 1.
        dashed: Dashes, so that a line is known by more than its colour.
    """

    colour: int
    dashed: bool = False


class Frame(NamedTuple):
    """The size of a chart in units of its view box."""

    width: int = WIDTH
    height: int = HEIGHT

    @property
    def right(self) -> int:
        """Where the plot ends."""
        return self.width - RIGHT

    @property
    def base(self) -> int:
        """Where the horizontal axis lies."""
        return self.height - BOTTOM


_FRAME = Frame()


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
    styles: Mapping[str, Style] | None = None,
    areas: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    frame: Frame = _FRAME,
) -> str:
    """SVG of lines over one axis.

    Args:
        lines: Points (x, y) by name; a y that is None or not finite leaves a gap.
        title: What is shown, also for those who do not see it.
        x_label: Of the horizontal axis.
        y_label: Of the vertical axis.
        marks: Vertical lines.
        bands: Parts of the horizontal axis (start, end, name); every second one is shaded.
        styles: Of the lines; a line without one takes the next colour.
        areas: Shaded parts (x, low, high) by the name of the line they belong to.
        frame: Size; one of 440 and less is readable on a telephone.

    Returns:
        One `svg` element with a legend, or a paragraph where there is no point.

    >>> svg = line_chart({"a": [(0, 1.0), (1, 3.0)]}, title="t", x_label="x", y_label="y")
    >>> svg.count("<polyline"), "NaN" in svg
    (1, False)
    """
    points = [p for line in lines.values() for p in line if _shown(p)]
    if not points:
        return f"<p>{escape(title)}: nothing was recorded.</p>"
    areas = areas or {}
    edges = [value for area in areas.values() for _, *pair in area for value in pair]
    x = _scale([p[0] for p in points] + [end for _, end, _ in bands], LEFT, frame.right)
    y = _scale([float(p[1] or 0) for p in points] + edges, frame.base, TOP, margin=0.05)
    looks = _looks(lines, styles or {})
    parts = [
        opening(frame.width, frame.height, title),
        *_bands(bands, x, frame),
        *_axes(x, y, x_label, y_label, frame),
        *_marks(marks, x, frame),
        *(_area(area, looks[name].colour, x, y) for name, area in areas.items() if area),
    ]
    for name, line in lines.items():
        parts += _polylines(name, line, looks[name], x, y)
    return "".join([*parts, "</svg>", legend(looks)])


def opening(width: int, height: int, title: str) -> str:
    """The start of an `svg` element with its name for those who do not see it."""
    wide = ' class="wide"' if width > _WIDE else ""
    return (
        f'<svg{wide} viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>"
    )


def legend(looks: Mapping[str, Style]) -> str:
    """A list of names, each with a piece of its line.

    >>> legend({"a<b": Style(2, dashed=True)}).count("a&lt;b")
    1
    """
    keys = "".join(
        '<li><svg class="key-line" viewBox="0 0 26 10" aria-hidden="true">'
        f'<line class="line-{look.colour}{" dashed" if look.dashed else ""}" '
        'x1="1" x2="25" y1="5" y2="5"/></svg>'
        f"{escape(name)}</li>"
        for name, look in looks.items()
    )
    return f'<ul class="legend">{keys}</ul>'


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


def short(value: float) -> str:
    """A number of at most about six letters.

    >>> short(0.00015), short(0.25), short(5e-05), short(1200000.0)
    ('1.5e-4', '0.25', '5e-5', '1.2e6')
    """
    text = f"{value:g}"
    if len(text) <= 6 and "e" not in text:
        return text
    digits, exponent = f"{value:.1e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def _looks(lines: Mapping[str, object], styles: Mapping[str, Style]) -> dict[str, Style]:
    return {
        name: styles.get(name, Style(number % COLOURS, dashed=number >= COLOURS))
        for number, name in enumerate(lines)
    }


def _shown(point: Point) -> bool:
    return point[1] is not None and math.isfinite(point[1])


def _scale(values: Sequence[float], start: float, end: float, margin: float = 0.0) -> _Scale:
    low, high = min(values), max(values)
    if low == high:
        around = abs(low) / 2 or 0.5
        low, high = low - around, high + around
    room = margin * (high - low)
    return _Scale(low - room, high + room, start, end)


def _axes(x: _Scale, y: _Scale, x_label: str, y_label: str, frame: Frame) -> list[str]:
    base, right = frame.base, frame.right
    parts = []
    for value in ticks(y.low, y.high, 4):
        at = y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" '
                     f'y2="{at:.1f}"/>')  # fmt: skip
        parts.append(
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{short(value)}</text>'
        )
    for value in ticks(x.low, x.high, max(3, round(frame.width / 90))):
        # A number at the very end would be cut off.
        anchor = "end" if x(value) > right - 14 else "middle"
        parts.append(
            f'<text x="{x(value):.1f}" y="{base + 16}" text-anchor="{anchor}">{value:g}</text>'
        )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}"/>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text x="{middle}" y="{frame.height - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    turned = f"translate(13 {(TOP + base) / 2}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle">{escape(y_label)}</text>')
    return parts


def _bands(bands: Sequence[tuple[float, float, str]], x: _Scale, frame: Frame) -> list[str]:
    height = frame.base - TOP
    return [
        f'<rect class="band{number % 2}" x="{x(start):.1f}" y="{TOP}" '
        f'width="{max(0.0, x(end) - x(start)):.1f}" height="{height}">'
        f"<title>{escape(name)}</title></rect>"
        for number, (start, end, name) in enumerate(bands)
    ]


def _marks(marks: Sequence[Mark], x: _Scale, frame: Frame) -> list[str]:
    return [
        f'<line class="mark" x1="{x(mark.at):.1f}" x2="{x(mark.at):.1f}" y1="{TOP}" '
        f'y2="{frame.base}"><title>{escape(mark.text)}</title></line>'
        for mark in marks
        if x.low <= mark.at <= x.high
    ]


def _area(area: Sequence[tuple[float, float, float]], colour: int, x: _Scale, y: _Scale) -> str:
    """The part between two lines."""
    there = [f"{x(at):.1f},{y(high):.1f}" for at, _, high in area]
    back = [f"{x(at):.1f},{y(low):.1f}" for at, low, _ in reversed(area)]
    return f'<polygon class="area-{colour}" points="{" ".join(there + back)}"/>'


def _polylines(name: str, line: Sequence[Point], look: Style, x: _Scale, y: _Scale) -> list[str]:
    """A polyline for each stretch without a gap; a lonely point is a dot."""
    stretches: list[list[str]] = [[]]
    for point in line:
        if not _shown(point):
            stretches.append([])
        else:
            stretches[-1].append(f"{x(point[0]):.1f},{y(float(point[1] or 0)):.1f}")
    dashed = " dashed" if look.dashed else ""
    parts = []
    for stretch in filter(None, stretches):
        if len(stretch) == 1:
            across, down = stretch[0].split(",")
            shape = f'<circle class="dot-{look.colour}" cx="{across}" cy="{down}" r="3">'
            parts.append(f"{shape}<title>{escape(name)}</title></circle>")
        else:
            kind = f"line-{look.colour}{dashed}"
            shape = f'<polyline class="{kind}" points="{" ".join(stretch)}">'
            parts.append(f"{shape}<title>{escape(name)}</title></polyline>")
    return parts
