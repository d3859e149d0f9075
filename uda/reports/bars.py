"""Bars side by side, a group of them for each row, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from uda.reports.charts import COLOURS, opening, ticks

WIDTH = 440
_RIGHT, _TOP, _BOTTOM = 46, 6, 40
_BAR, _GAP = 13, 9
_LETTER = 7.4  # width of a letter at the page's size of text in charts


class Bar(NamedTuple):
    """One value.

    Attributes:
        value: Its length; None draws none and says so.
        spread: Half the length of the whisker, None without one.
    """

    value: float | None
    spread: float | None = None


def bar_chart(
    groups: Mapping[str, Mapping[str, Bar]],
    *,
    title: str,
    x_label: str,
    highest: float | None = None,
    colours: Sequence[int] = tuple(range(COLOURS)),
) -> str:
    """SVG of horizontal bars from zero, with their values in digits.

    Args:
        groups: Bars by name, by the name of their row; rows from top to bottom.
        title: What is shown, also for those who do not see it.
        x_label: Of the horizontal axis.
        highest: End of the axis; None takes the largest value.
        colours: One for each bar of a row, 0 to `COLOURS` - 1.

    Returns:
        One `svg` element with a legend, or a paragraph where there is no value.

    >>> svg = bar_chart({"road": {"a": Bar(50.0), "b": Bar(None)}}, title="t", x_label="%")
    >>> svg.count("<rect"), "50.0" in svg
    (1, True)
    """
    bars = [bar for row in groups.values() for bar in row.values()]
    known = [bar.value for bar in bars if bar.value is not None and math.isfinite(bar.value)]
    if not known:
        return f"<p>{escape(title)}: nothing was recorded.</p>"
    names = list(dict.fromkeys(name for row in groups.values() for name in row))
    shades = {name: colours[number % len(colours)] for number, name in enumerate(names)}
    left = min(150, round(14 + _LETTER * max(map(len, groups))))
    end = highest or max(known) or 1.0
    length = (WIDTH - left - _RIGHT) / end
    step = _GAP + _BAR * len(names)
    height = _TOP + step * len(groups) + _BOTTOM
    parts = [opening(WIDTH, height, title), *_axis(left, length, end, height, x_label)]
    for number, (row, values) in enumerate(groups.items()):
        top = _TOP + step * number + _GAP / 2
        middle = top + _BAR * len(names) / 2 + 4
        parts.append(f'<text x="{left - 6}" y="{middle:.1f}" text-anchor="end">{_cut(row)}</text>')
        for place, name in enumerate(names):
            bar = values.get(name, Bar(None))
            told = f"{row}, {name}"
            parts += _bar(bar, told, left, top + _BAR * place, length, shades[name])
    return "".join([*parts, "</svg>", _legend(shades)])


def _cut(name: str) -> str:
    """A name that fits into the column of names."""
    return escape(name if len(name) <= 20 else name[:19] + "…")


def _axis(left: float, length: float, end: float, height: int, x_label: str) -> list[str]:
    base = height - _BOTTOM
    parts = []
    for value in ticks(0, end, 4):
        at = left + value * length
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{base}"/>')
        parts.append(f'<text x="{at:.1f}" y="{base + 16}" text-anchor="middle">{value:g}</text>')
    middle = left + end * length / 2
    parts.append(
        f'<text x="{middle:.1f}" y="{height - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    return parts


def _bar(bar: Bar, told: str, left: float, top: float, length: float, colour: int) -> list[str]:
    under = f'y="{top + _BAR - 2:.1f}" class="value"'
    if bar.value is None or not math.isfinite(bar.value):
        return [f'<text x="{left + 4}" {under}>–</text>']
    width = max(0.0, bar.value * length)
    spread = "" if bar.spread is None else f" ± {bar.spread:.1f}"
    parts = [
        f'<rect class="fill-{colour}" x="{left}" y="{top:.1f}" width="{width:.1f}" '
        f'height="{_BAR - 1}"><title>{escape(told)}: {bar.value:.1f}{spread}</title></rect>'
    ]
    end = left + width
    if bar.spread:
        low, high = (max(left, end + sign * bar.spread * length) for sign in (-1, 1))
        middle = top + (_BAR - 1) / 2
        parts.append(f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" '
                     f'y2="{middle:.1f}"/>')  # fmt: skip
        end = max(end, high)
    return [*parts, f'<text x="{end + 4:.1f}" {under}>{bar.value:.1f}</text>']


def _legend(shades: Mapping[str, int]) -> str:
    keys = "".join(
        f'<li><span class="key key-{colour}"></span>{escape(name)}</li>'
        for name, colour in shades.items()
    )
    return f'<ul class="legend">{keys}</ul>'
