"""Values of many names over time as rows of shaded cells, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from uda.reports.charts import Point, opening, ticks

WIDTH = 440
LEVELS = 10  # classes heat-0 to heat-10 of the page
_RIGHT, _TOP, _BOTTOM, _ROW = 12, 4, 36, 15
_LETTER = 7.4


def strip_chart(
    rows: Mapping[str, Sequence[Point]],
    *,
    title: str,
    x_label: str,
    highest: float | None = None,
) -> str:
    """SVG with a row for each name, darker where its value is higher.

    A cell reaches from one point to the next, so that many names stay apart where as many lines
    would cross.

    Args:
        rows: Points (x, y) by name, y at least 0; None or not finite leaves a hole.
        title: What is shown, also for those who do not see it.
        x_label: Of the horizontal axis.
        highest: Value of the darkest cell; None takes the largest.

    Returns:
        One `svg` element with a scale, or a paragraph where there is no value.

    >>> svg = strip_chart({"road": [(0, 0.0), (10, 1.0)]}, title="t", x_label="x")
    >>> svg.count('class="heat-0"'), svg.count('class="heat-10"')
    (1, 1)
    """
    known = [p for row in rows.values() for p in row if p[1] is not None and math.isfinite(p[1])]
    if not known:
        return f"<p>{escape(title)}: nothing was recorded.</p>"
    top = highest or max(float(value or 0) for _, value in known) or 1.0
    left = min(150, round(14 + _LETTER * max(map(len, rows))))
    places = sorted({at for at, _ in known})
    starts = _starts(places)
    first, last = starts[places[0]][0], starts[places[-1]][1]
    length = (WIDTH - left - _RIGHT) / (last - first)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    parts = [opening(WIDTH, height, title)]
    for number, (name, row) in enumerate(rows.items()):
        y = _TOP + _ROW * number
        parts.append(f'<text x="{left - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
        for at, value in row:
            if value is None or not math.isfinite(value):
                continue
            start, end = starts[at]
            level = round(LEVELS * min(1.0, max(0.0, value / top)))
            parts.append(
                f'<rect class="heat-{level}" x="{left + (start - first) * length:.1f}" y="{y}" '
                f'width="{(end - start) * length:.1f}" height="{_ROW - 1}">'
                f"<title>{escape(name)}, {at:g}: {value:.3g}</title></rect>"
            )
    parts += _axis(places, first, left, length, height, x_label)
    return "".join([*parts, "</svg>", scale(top)])


def scale(top: float) -> str:
    """What the shades mean, from 0 to the value of the darkest."""
    cells = "".join(f'<i class="cell heat-{level}"></i>' for level in range(LEVELS + 1))
    return f'<p class="scale">0 <span aria-hidden="true">{cells}</span> {top:.3g}</p>'


def _starts(places: Sequence[float]) -> dict[float, tuple[float, float]]:
    """Where the cell of each point begins and ends: a value is the mean since the last one."""
    steps = [b - a for a, b in zip(places, places[1:], strict=False)]
    first = steps[0] if steps else 1.0
    before = [places[0] - first, *places[:-1]]
    return {at: (start, at) for start, at in zip(before, places, strict=True)}


def _axis(
    places: Sequence[float], first: float, left: float, length: float, height: int, x_label: str
) -> list[str]:
    base = height - _BOTTOM
    last = max(places[-1], first + 1e-9)
    parts = []
    for value in ticks(first, last, 4):
        at = left + (value - first) * length
        anchor = "end" if at > WIDTH - _RIGHT - 14 else "middle"
        parts.append(f'<text x="{at:.1f}" y="{base + 14}" text-anchor="{anchor}">{value:g}</text>')
    middle = (left + WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{height - 4}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return parts
