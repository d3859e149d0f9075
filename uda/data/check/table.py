"""A report as people read it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from uda.data.check.findings import Finding, Looked, Report

_COLOURS = {"error": "red", "warning": "yellow"}
_SHOWN_SIZES = 3


def print_report(report: Report, console: Console) -> None:
    """Print what was looked at, a table of the findings, and their number.

    Args:
        report: From `uda.data.check.run.check_sets`.
        console: Where to.
    """
    for looked in report.looked:
        console.print(Text(looked_at(looked)))
    if report.findings:
        console.print(findings_table(report.findings))
    if report.limit is not None:
        console.print(
            f"At most {report.limit} images of each set were read: absent classes and rare class "
            "sampling were not judged where there are more."
        )
    errors, warnings = report.count("error"), report.count("warning")
    console.print(f"{_many(errors, 'error')}, {_many(warnings, 'warning')}")


def looked_at(looked: Looked) -> str:
    """What was looked at in one data set, in a line.

    >>> looked_at(Looked("target", images=62, checked=62))
    'target: 62 images without labels'
    """
    if not looked.images:
        return f"{looked.dataset}: no images"
    labels = f"{looked.labels} labels" if looked.labels else "without labels"
    joined = "and " if looked.labels else ""
    text = f"{looked.dataset}: {_many(looked.images, 'image')} {joined}{labels}"
    sizes = [f"{w}x{h}" for (h, w), _ in looked.sizes.most_common(_SHOWN_SIZES)]
    if sizes:
        more = ", ..." if len(looked.sizes) > _SHOWN_SIZES else ""
        text += f", {', '.join(sizes)}{more} pixels"
    if looked.checked < looked.images:
        text += f"; {looked.checked} read"
    return text


def findings_table(findings: list[Finding]) -> Table:
    """A row for each finding: how bad, in which data set, how many files, what, and what to do."""
    table = Table(show_lines=True)
    table.add_column("severity")
    table.add_column("data set", overflow="fold")
    table.add_column("files", justify="right")
    table.add_column("what was found, the first file, what to do", overflow="fold")
    for finding in findings:
        text = Text(finding.text, style="bold")
        if finding.files and finding.files[0] not in finding.text:
            text.append(f"\nfirst: {finding.files[0]}", style="not bold")
        if finding.advice:
            text.append(f"\nto do: {finding.advice}", style="not bold")
        severity = Text(finding.severity, style=_COLOURS[finding.severity])
        table.add_row(severity, finding.dataset, str(len(finding.files) or ""), _shown(text))
    return table


def _shown(text: Text) -> Text:
    """The text with every character in a form that any stream can print."""
    plain = text.plain
    safe = plain.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if safe == plain else Text(safe)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
