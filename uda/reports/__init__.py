"""Pages for people: one HTML file with tables, charts and pictures in it, no network needed."""

from __future__ import annotations

from uda.reports.bars import Bar, bar_chart
from uda.reports.charts import Frame, Mark, Style, line_chart
from uda.reports.page import (
    Card,
    Cards,
    Chart,
    Columns,
    Details,
    HeatMap,
    Legend,
    Notice,
    Page,
    Part,
    Picture,
    Pictures,
    Section,
    Stack,
    Table,
    Text,
    write_page,
)
from uda.reports.pictures import data_uri
from uda.reports.strips import strip_chart

__all__ = [
    "Bar",
    "Card",
    "Cards",
    "Chart",
    "Columns",
    "Details",
    "Frame",
    "HeatMap",
    "Legend",
    "Mark",
    "Notice",
    "Page",
    "Part",
    "Picture",
    "Pictures",
    "Section",
    "Stack",
    "Style",
    "Table",
    "Text",
    "bar_chart",
    "data_uri",
    "line_chart",
    "strip_chart",
    "write_page",
]
