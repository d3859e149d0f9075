"""A line at the bottom of a terminal that changes while messages pass above it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.live import Live


def can_redraw(stream: TextIO | None = None, environment: Mapping[str, str] | None = None) -> bool:
    """Whether lines of a stream can be drawn again: a terminal, and nobody asked for plain text.

    Args:
        stream: None: standard output.
        environment: None: that of the process. `NO_COLOR`, if not empty, and `TERM=dumb` ask for
            plain text.

    >>> import io
    >>> can_redraw(io.StringIO(), {})
    False
    """
    stream = sys.stdout if stream is None else stream
    environment = os.environ if environment is None else environment
    plain = environment.get("NO_COLOR") or environment.get("TERM") in ("dumb", "unknown")
    return not plain and stream.isatty()


class Screen:
    """The bottom line, and whatever is printed above it meanwhile.

    Messages of a logger that go to the terminal, and what anybody prints, appear above the line.
    No thread runs: the line changes when `show` is called.

    Args:
        logger: Its handlers that write to standard output or error are led around the line.
        hidden: Messages that the line makes superfluous.
        console: None: the terminal.
    """

    def __init__(
        self,
        logger: logging.Logger,
        *,
        hidden: Callable[[str], bool],
        console: Console | None = None,
    ) -> None:
        self.console = Console() if console is None else console
        self._live = Live(console=self.console, auto_refresh=False)
        self._hidden = hidden
        self._streams: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._handlers = [
            handler
            for handler in logger.handlers
            if isinstance(handler, logging.StreamHandler)
            and not isinstance(handler, logging.FileHandler)
        ]

    def start(self) -> None:
        """Take the bottom line."""
        self._live.start()
        for handler in self._handlers:
            # Now standard output is rich's, which prints above the line.
            former = handler.setStream(sys.stdout)
            self._streams.append((handler, former))
            handler.addFilter(self._wanted)

    def show(self, line: RenderableType) -> None:
        """Change the line."""
        self._live.update(line, refresh=True)

    def print(self, what: RenderableType) -> None:
        """Print something above it."""
        self.console.print(what)

    def stop(self) -> None:
        """Leave the line as it is and give the terminal back; a second time does nothing."""
        for handler, stream in self._streams:
            handler.removeFilter(self._wanted)
            if stream is not None:
                handler.setStream(stream)
        self._streams.clear()
        self._live.stop()

    def _wanted(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not self._hidden(record.getMessage())
