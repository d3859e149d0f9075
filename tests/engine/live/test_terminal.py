"""The bottom line: where it is drawn, what passes above it, and that the terminal is given back."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest
from rich.console import Console

from uda.engine.live.terminal import Screen, can_redraw

CODE = re.compile(r"\x1b\[[?\d;]*[A-Za-z]")  # colours, and places of the cursor


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "wanted"),
    [
        (Terminal(), {"TERM": "xterm-256color"}, True),
        (Terminal(), {}, True),  # Windows has no TERM
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),  # as the convention says
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_can_redraw_values(stream: io.StringIO, environment: dict[str, str], wanted: bool) -> None:
    """A terminal, unless somebody wants plain text."""
    assert can_redraw(stream, environment) is wanted


def make_logger(stream: io.StringIO) -> logging.Logger:
    """A logger that writes to a terminal."""
    logger = logging.Logger("live")
    logger.addHandler(logging.StreamHandler(stream))
    return logger


def test_screen_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and prints appear, hidden ones do not, warnings always; then all is as before."""
    terminal, before = Terminal(), sys.stdout
    logger = make_logger(terminal)
    console = Console(file=terminal, force_terminal=True, width=60)
    screen = Screen(logger, hidden=lambda text: text.startswith("Iter"), console=console)
    screen.start()
    screen.show("train 1/9")
    logger.info("Saving checkpoint")
    logger.info("Iter(train) [50/600]")
    logger.warning("Iter looks odd")
    print("somebody prints")
    screen.print("a table")
    screen.show("train 2/9")
    screen.stop()
    screen.stop()
    logger.info("Iter(train) [100/600]")
    shown = CODE.sub("", terminal.getvalue())
    for text in ("Saving checkpoint", "Iter looks odd", "somebody prints", "a table"):
        assert shown.count(text) == 1
    assert "[50/600]" not in shown
    assert "[100/600]" in shown
    assert shown.index("a table") < shown.rindex("train 2/9")
    assert sys.stdout is before
    codes = terminal.getvalue()
    assert codes.rindex("\x1b[?25h") > codes.index("\x1b[?25l")  # the cursor is visible again
