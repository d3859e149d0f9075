"""Pages: what is shown, what is escaped, self-contained; charts and pictures by hand."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

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
    write_page,
)
from uda.reports.charts import ticks

EMPTY = {"meta", "img", "line", "br", "link"}


class Balance(HTMLParser):
    """Keeps the open elements, and finds what is closed in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def red(width: int = 4, height: int = 2) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 255
    return image


def decoded(uri: str) -> np.ndarray:
    content = np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]


def test_page(tmp_path: Path) -> None:
    """Every kind of part; markup in texts is shown, not followed; nothing is fetched."""
    svg = line_chart({"a<b": [(0, 1), (1, 2)]}, title="t&u", x_label="x", y_label="y")
    parts = [
        Text("<script>"),
        Table(["name", "score"], [["a", 0.123], ["b", None], ["c", float("nan")], ["d", 7]], "Of."),
        Chart(svg, "Below."),
        Pictures([Picture(data_uri(red(), exact=True), 'the "input"')], "Both"),
        Legend([("road", (1, 2, 3))]),
    ]
    file = tmp_path / "new" / "page.html"
    write_page(Page("T", [Section("S & T", parts), Section("Empty")]), file)
    text = file.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "a&lt;b" in text
    assert re.findall(r'<th scope="row" class="words">(.*?)</th>', text) == ["a", "b", "c", "d"]
    cells = [cell.replace("–", "-") for cell in re.findall(r"<td>(.*?)</td>", text)]
    assert cells == ["0.12", "-", "-", "7"]
    assert "rgb(1, 2, 3)" in text
    assert 'alt="Both: the &#34;input&#34;"' in text
    assert "http" not in text
    assert re.findall(r'href="([^"]*)"', text) == ["data:,", "#content", "#part-1", "#part-2"]
    balance = Balance()
    balance.feed(text)
    assert (balance.open, balance.wrong) == ([], [])


def test_chart_values() -> None:
    """Two points at the ends of both axes, up to the margin; gaps part a line; a dot is a point."""
    lines = {"a": [(0.0, 0.0), (10.0, 1.0)], "b": [(0, 1.0), (1, None), (2, 0.5), (3, 0.5)]}
    svg = line_chart(
        lines, title="t", x_label="x", y_label="y",
        marks=[Mark(5, "rolled back"), Mark(99, "outside")], bands=[(0, 5, "fog"), (5, 10, "rain")],
    )  # fmt: skip
    plot = svg[: svg.index("<ul")]
    (first, second) = re.findall(r'<polyline class="line-(\d)" points="([^"]*)"', plot)
    (x0, y0), (x1, y1) = (map(float, pair.split(",")) for pair in first[1].split())
    assert (x0, x1) == (56, 708)
    assert y1 < y0  # larger is higher
    assert second[0] == "1"
    assert svg.count("<circle") == 1
    assert "rolled back" in svg
    assert "outside" not in svg
    assert '<rect class="band1" x="382.0"' in svg
    assert svg.count("<li>") == 2


@pytest.mark.parametrize(
    "lines",
    [{}, {"a": []}, {"a": [(0, None)]}, {"a": [(0, float("nan"))]}],
    ids=["no-line", "no-point", "none", "nan"],
)
def test_chart_without_points(lines: dict[str, list[tuple[float, float | None]]]) -> None:
    assert line_chart(lines, title="t", x_label="x", y_label="y") == (
        "<p>t: nothing was recorded.</p>"
    )


@pytest.mark.parametrize("value", [0.0, -3.0, 1e9])
def test_chart_of_one_value(value: float) -> None:
    """A single point, or a line that does not move, has an axis too."""
    for points in ([(2.0, value)], [(2.0, value), (3.0, value)]):
        svg = line_chart({"a": points}, title="t", x_label="x", y_label="y")
        assert "nan" not in svg.lower().replace("name", "")


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (37, 52, [40, 45, 50]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_values(low: float, high: float, wanted: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(wanted)


def test_data_uri_values() -> None:
    """Exact pictures are exact, in RGB; wide ones become smaller; others are near."""
    assert np.array_equal(decoded(data_uri(red(), exact=True)), red())
    assert decoded(data_uri(red(100, 50), width=40, exact=True)).shape == (20, 40, 3)
    assert np.abs(decoded(data_uri(red(32, 32))).astype(int) - red(32, 32)).max() < 6
    with pytest.raises(ValueError, match=r"\(H, W, 3\) of uint8, RGB, not \(2, 2\)"):
        data_uri(np.zeros((2, 2), np.uint8))
