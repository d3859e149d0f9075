"""Bars, strips, heat maps, styles and areas: lengths and shades by hand."""

from __future__ import annotations

import re

from uda.reports import (
    Bar,
    Card,
    Cards,
    Chart,
    Columns,
    Details,
    Frame,
    HeatMap,
    Notice,
    Page,
    Section,
    Stack,
    Style,
    Table,
    Text,
    bar_chart,
    line_chart,
    strip_chart,
)
from uda.reports.page import render

from .test_page import Balance


def test_bar_chart_values() -> None:
    """Lengths are in proportion, whiskers reach as far as the spread, missing values are a dash."""
    groups = {"road": {"a": Bar(50.0, 10.0), "b": Bar(25.0)}, "sky": {"a": Bar(None)}}
    svg = bar_chart(groups, title="t", x_label="%", highest=100.0, colours=[3, 4])
    widths = [float(w) for w in re.findall(r'<rect class="fill-\d"[^>]* width="([\d.]+)"', svg)]
    assert len(widths) == 2
    assert abs(widths[0] - 2 * widths[1]) < 0.11
    low, high = map(float, re.findall(r'class="whisker" x1="([\d.]+)" x2="([\d.]+)"', svg)[0])
    assert abs((high - low) - 0.4 * widths[0]) < 0.2
    assert svg.count(">–</text>") == 2  # sky of a, and of b, which has none
    assert "road, a: 50.0 ± 10.0" in svg
    assert 'class="fill-3"' in svg
    assert 'class="fill-4"' in svg
    assert bar_chart({"a": {"b": Bar(None)}}, title="t", x_label="x") == (
        "<p>t: nothing was recorded.</p>"
    )
    assert "nan" not in bar_chart({"a": {"b": Bar(0.0)}}, title="t", x_label="x")


def test_strip_chart_values() -> None:
    """Half of the highest is the middle shade; a hole stays a hole; names are escaped."""
    rows = {"a<b": [(10, 0.2), (20, 0.4)], "c": [(10, None), (20, 0.0)]}
    svg = strip_chart(rows, title="t", x_label="x")
    assert re.findall(r'<rect class="heat-(\d+)"', svg) == ["5", "10", "0"]
    spans = re.findall(r'<rect class="heat-\d+" x="([\d.]+)" y="\d+" width="([\d.]+)"', svg)
    (first, width), (second, _), _ = spans
    assert abs(float(first) + float(width) - float(second)) < 0.11
    assert "a&lt;b, 10: 0.2" in svg
    assert strip_chart({"a": []}, title="t", x_label="x") == "<p>t: nothing was recorded.</p>"
    one = strip_chart({"a": [(5.0, 1.0)]}, title="t", x_label="x", highest=2.0)
    assert 'class="heat-5"' in one


def test_styles_and_areas() -> None:
    """A colour and dashes of one's own; an area goes there and back; a small frame is not wide."""
    lines = {"a": [(0.0, 1.0), (10.0, 2.0)], "b": [(0.0, 2.0), (10.0, 3.0)]}
    svg = line_chart(
        lines, title="t", x_label="x", y_label="y", styles={"b": Style(5, dashed=True)},
        areas={"a": [(0, 0.5, 1.5), (10, 1.0, 4.0)]}, frame=Frame(440, 270),
    )  # fmt: skip
    assert '<polyline class="line-5 dashed"' in svg
    (area,) = re.findall(r'<polygon class="area-0" points="([^"]*)"', svg)
    points = [tuple(map(float, point.split(","))) for point in area.split()]
    assert [x for x, _ in points] == [56, 428, 428, 56]
    assert points[1][1] < points[0][1] < points[3][1]  # 4 above 1.5 above 0.5
    assert 'class="wide"' not in svg
    assert 'class="wide"' in line_chart(lines, title="t", x_label="x", y_label="y")


def test_all_parts_of_a_page_are_balanced() -> None:
    """Nested parts too; shades of a heat map, words of notices."""
    chart = Chart(bar_chart({"a": {"b": Bar(1.0)}}, title="t", x_label="x"), "below", "above")
    heat = HeatMap(["a", "b"], ["c"], [[0.26], [None]], "Of", "true", "predicted")
    parts = [
        Notice("n", "bad"),
        Cards([Card("1 %", "name", "note"), Card("2", "x")]),
        Columns([Stack([chart, Details("more", [Table(["v"], [[1.0]], words=0)])]), heat]),
        Columns([chart]),
        Text("<b>"),
    ]
    text = render(Page("T", [Section("S", parts)]))
    balance = Balance()
    balance.feed(text)
    assert (balance.open, balance.wrong) == ([], [])
    assert '<td class="heat-3">26</td>' in text
    assert '<td class="heat-0">–</td>' in text
    assert "<b>Problem:</b>n" in text
    assert text.count('<div class="columns charts">') == 1
    assert "<p>&lt;b&gt;</p>" in text
