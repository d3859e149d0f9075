"""A page of sections, written as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import jinja2

from uda.files import write_atomically

Cell = str | int | float | None


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
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    digits: int = 2
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Chart:
    """An SVG of `line_chart`, with a sentence below."""

    svg: str
    caption: str = ""
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


Part = Text | Table | Chart | Pictures | Legend


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
    >>> "A &amp; B" in html, "<td>0.50</td>" in html
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
