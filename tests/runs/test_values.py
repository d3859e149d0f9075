"""Plain values, dotted names, digests."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from uda.runs.values import ABSENT, digest, plain, unequal


def test_plain_values() -> None:
    """What a config may hold: tuples, sets, numbers as keys, classes, paths, what is no number."""
    given = {"a": (1, 2.5), "b": {7: None}, "c": {"y", "x"}, "d": nn.ReLU, "e": Path("x/y")}
    assert plain({**given, "f": b"", "g": [float("inf"), float("nan"), True]}) == {
        "a": [1, 2.5],
        "b": {"7": None},
        "c": ["x", "y"],
        "d": "torch.nn.modules.activation.ReLU",
        "e": "x/y",
        "f": [],
        "g": ["inf", "nan", True],
    }


def test_unequal_values() -> None:
    """Places in dicts and in lists of dicts; whole lists of numbers; what one side lacks."""
    first = {"a": {"b": 1, "c": {}}, "d": [{"e": 2}, {"f": 3}], "g": [5, 6], "h": None, "i": 1}
    second = {"a": {"b": 1, "c": {"x": 0}}, "d": [{"e": 4}], "g": [5, 7], "h": {"y": 1}, "j": [1]}
    assert unequal(first, second) == [
        ("a.c.x", ABSENT, 0),
        ("d.0.e", 2, 4),
        ("d.1", {"f": 3}, ABSENT),
        ("g", [5, 6], [5, 7]),
        ("h", None, {"y": 1}),
        ("i", 1, ABSENT),
        ("j", ABSENT, [1]),
    ]
    assert unequal(first, first) == []


def test_unequal_numbers() -> None:
    """NaN is NaN, 1 is 1.0, and neither is a truth value; no rounding."""
    nan = float("nan")
    assert unequal([nan, 1, 0.0, [2]], [float("nan"), 1.0, -0.0, [2]]) == []
    assert unequal({"a": 1, "b": 0}, {"a": True, "b": False}) == [("a", 1, True), ("b", 0, False)]
    assert unequal(0.1 + 0.2, 0.3) == [("", 0.1 + 0.2, 0.3)]
    assert unequal(nan, 1.0) == [("", nan, 1.0)]


def test_digest_values() -> None:
    """SHA-256 of `{"a": 1}`; another value, or another kind of value, has another digest."""
    wanted = "f9d86028c6e0d64e225186f96acb69338b2c59764df79162107f5c4bb34d1310"
    assert digest({"a": 1}) == wanted
    assert len({digest({"a": value}) for value in (1, 1.5, "1", True, None, [1])}) == 6
