"""Pages for people: one HTML file with tables, charts and pictures in it, no network needed."""

from __future__ import annotations

from uda.reports.charts import Mark, line_chart
from uda.reports.page import (
    Chart,
    Legend,
    Page,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    write_page,
)
from uda.reports.pictures import data_uri

__all__ = [
    "Chart",
    "Legend",
    "Mark",
    "Page",
    "Picture",
    "Pictures",
    "Section",
    "Table",
    "Text",
    "data_uri",
    "line_chart",
    "write_page",
]
