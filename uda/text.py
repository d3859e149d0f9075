"""Hints for error messages: what a mistyped name was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that proposes the known name most like `name`; empty when none is like it.

    >>> did_you_mean("decya", ["decay", "mode"])
    " Did you mean 'decay'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an error message: the known name most like `name`, and all of them.

    >>> nearest("decya", {"decay": 0, "mode": 0})
    " Did you mean 'decay'? Known: decay, mode."
    """
    names = sorted(known)
    return f"{did_you_mean(name, names)} Known: {', '.join(names)}."
