"""A page of sections, written as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

import jinja2

from uda.files import write_atomically

Cell = str | int | float | None
Level = Literal["good", "note", "bad"]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Table:
    """Rows under column names.

    Attributes:
        columns: Names.
        rows: Cells; numbers are shown with `digits`, None as a dash.
        caption: What the table says.
        digits: Digits after the point of floats.
        words: How many of the first columns hold words, which stand to the left.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    digits: int = 2
    words: int = 1
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Chart:
    """An SVG of `line_chart`, `bar_chart` or `strip_chart`.

    Attributes:
        svg: The chart.
        caption: A sentence below.
        title: Of the chart, above.
    """

    svg: str
    caption: str = ""
    title: str = ""
    kind: ClassVar[str] = "chart"


@dataclass(frozen=True)
class Picture:
    """An image.

    Attributes:
        source: Of `data_uri`.
        title: Shown below, and said to those who do not see it.
    """

    source: str
    title: str


@dataclass(frozen=True)
class Pictures:
    """Images side by side, below each other where the screen is narrow."""

    pictures: Sequence[Picture]
    caption: str = ""
    kind: ClassVar[str] = "pictures"


@dataclass(frozen=True)
class Legend:
    """Colours and what they mean: names with RGB in 0..255."""

    entries: Sequence[tuple[str, Sequence[int]]]
    kind: ClassVar[str] = "legend"


@dataclass(frozen=True)
class Notice:
    """A sentence that must not be passed over.

    Attributes:
        text: The sentence.
        level: `"good"`, `"note"` or `"bad"`; said in a word as well as in colour.
    """

    text: str
    level: Level = "note"
    kind: ClassVar[str] = "notice"


@dataclass(frozen=True)
class Card:
    """One figure that matters.

    Attributes:
        value: As it is read.
        name: What it is.
        note: Where it comes from, or what to compare it with.
    """

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Cards:
    """Figures side by side."""

    cards: Sequence[Card]
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class HeatMap:
    """A table whose cells are shaded by their value.

    Attributes:
        rows: Names of the rows.
        columns: Names of the columns.
        values: Shares in [0, 1] by row, None where there is none; shown in percent.
        caption: What the table says.
        row_title: What rows are.
        column_title: What columns are.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    caption: str
    row_title: str
    column_title: str
    kind: ClassVar[str] = "heat"


@dataclass(frozen=True)
class Details:
    """Parts that are shown when they are asked for."""

    summary: str
    parts: Sequence[Part]
    kind: ClassVar[str] = "details"


@dataclass(frozen=True)
class Stack:
    """Parts below each other that stay together."""

    parts: Sequence[Part]
    kind: ClassVar[str] = "stack"


@dataclass(frozen=True)
class Columns:
    """Parts side by side where there is room, below each other where there is none."""

    parts: Sequence[Part]
    kind: ClassVar[str] = "columns"


Part: TypeAlias = (
    "Text | Table | Chart | Pictures | Legend | Notice | Cards | HeatMap | Details | Stack | "
    "Columns"
)


@dataclass(frozen=True)
class Section:
    """Parts under a heading."""

    title: str
    parts: Sequence[Part] = field(default_factory=tuple)


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Of the page.
        sections: In order.
        lead: One sentence below the title.
    """

    title: str
    sections: Sequence[Section]
    lead: str = ""


def render(page: Page) -> str:
    """The page as HTML.

    >>> html = render(Page("A & B", [Section("One", [Table(["x"], [[0.5], [None]])])]))
    >>> "A &amp; B" in html, ">0.50</th>" in html
    (True, True)
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["shade"] = _shade
    return environment.get_template("page.html.j2").render(page=page)


def write_page(page: Page, path: str | Path) -> None:
    """Write the page to a file, which appears whole or not at all.

    Args:
        page: What to write.
        path: The file; its folder is made.

    Raises:
        OSError: It cannot be written.
    """
    write_atomically(path, render(page).encode())


def _cell(value: Cell, digits: int) -> str:
    if value is None or value != value:
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _shade(value: float | None) -> int:
    """The shade of a share, 0 to 10."""
    return 0 if value is None or value != value else round(10 * min(1.0, max(0.0, value)))
