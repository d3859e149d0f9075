"""Hints for error messages."""

from __future__ import annotations

from uda.text import did_you_mean, nearest


def test_did_you_mean_values() -> None:
    """A proposal for what is like a known name, silence for what is not."""
    assert did_you_mean("decya", {"decay": 0, "mode": 0}) == " Did you mean 'decay'?"
    assert did_you_mean("xxxxxxx", ["decay", "mode"]) == ""


def test_nearest_values() -> None:
    """Nothing is proposed where nothing is near; all names are listed either way."""
    known = {"decay": 0, "mode": 0}
    assert nearest("decya", known) == " Did you mean 'decay'? Known: decay, mode."
    assert nearest("xxxxxxx", known) == " Known: decay, mode."
