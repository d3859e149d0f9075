"""Nested settings: as plain JSON values, as a digest, and where two of them differ."""

from __future__ import annotations

import enum
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

_SCALARS = (str, int, float, bool, type(None))


def plain(value: Any) -> Any:
    """The value as JSON holds it: tuples as lists, keys as text, classes by their full name.

    Infinity and NaN become text, since JSON has no such numbers.

    >>> plain({"scale": (2, 1), "label_map": {7: 0}, "type": dict})
    {'scale': [2, 1], 'label_map': {'7': 0}, 'type': 'builtins.dict'}
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, _SCALARS):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [plain(inner) for inner in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner) for inner in value), key=repr)
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value)


class Absent(enum.Enum):
    """Stands for a value that one of two sides does not have."""

    ABSENT = "not there"


ABSENT = Absent.ABSENT


def unequal(first: Any, second: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Dotted name and both values of each place where nested plain values differ.

    Names are those of `--cfg-options`: keys and positions. What stands on one side only is one
    place, however much it holds, and so is a list of numbers or texts. NaN equals NaN.

    >>> unequal({"terms": [{"weight": 0.5}], "seed": 1}, {"terms": [{"weight": 0.1}], "seed": 1})
    [('terms.0.weight', 0.5, 0.1)]
    >>> unequal({"size": [1, 2]}, {"size": [1, 3], "view": {"type": "NoView"}})
    [('size', [1, 2], [1, 3]), ('view', <Absent.ABSENT: 'not there'>, {'type': 'NoView'})]
    """
    parts = _parts(first, second)
    if parts is None:
        return [] if _same(first, second) else [(name, first, second)]
    a, b = parts
    return [
        place
        for key in dict.fromkeys([*a, *b])
        for place in unequal(
            a.get(key, ABSENT), b.get(key, ABSENT), f"{name}.{key}" if name else key
        )
    ]


def digest(value: Any) -> str:
    """SHA-256 of plain values, the same for any order of keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _parts(first: Any, second: Any) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What two values consist of, by name, where that can be compared piece by piece."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first, second
    both_lists = isinstance(first, list) and isinstance(second, list)
    if both_lists and any(isinstance(inner, (dict, list)) for inner in [*first, *second]):
        return _by_position(first), _by_position(second)
    return None


def _by_position(values: list[Any]) -> dict[str, Any]:
    return {str(position): value for position, value in enumerate(values)}


def _same(first: Any, second: Any) -> bool:
    if first != first and second != second:  # noqa: PLR0124 - only NaN differs from itself
        return True
    # 1 == True and 1 == 1.0, but a setting may treat the first two differently.
    return bool(first == second) and isinstance(first, bool) == isinstance(second, bool)
