"""Values of a config against annotations: what fits, and how a type is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from uda.data.folder import FolderDataset
from uda.engine.config_types import annotations_of, fits, in_words
from uda.selftraining import ConfidenceShare

CASES = [
    (int, [0, -3], [1.0, True, "1", None], "a whole number"),
    (float, [0, 1.5], [True, "1", None, [1.0]], "a number"),
    (bool, [True], [0, "True"], "True or False"),
    (str, ["a"], [1, ["a"]], "a text"),
    (int | None, [1, None], [1.5], "a whole number, or None"),
    (tuple[int, int], [(1, 2), [1, 2]], [(1,), (1, 2, 3), (1, 2.0), 1], "two whole numbers"),
    (tuple[float, float, float], [(1, 2, 3)], [(1, 2)], "three numbers"),
    (tuple[int, ...], [(), [1, 2, 3]], [("a",)], "a list of whole numbers"),
    (Sequence[str], [["a"], ()], ["a", [1]], "a list of texts"),
    (Sequence[str | int], [["a", 1]], [[1.5]], "a list of texts or whole numbers"),
    (Sequence[Sequence[int]], [[[1], [2]]], [[1]], "a list of (a list of whole numbers)"),
    (str | Sequence[str], ["a", ["a"]], [1], "a text, or a list of texts"),
    (Literal["batch", "image"], ["batch"], ["all", 1], "'batch' or 'image'"),
    (Literal["auto"] | int, ["auto", 3], ["some"], "'auto', or a whole number"),
    (Mapping[int, int], [{7: 0}, {"7": 0}], [[7, 0]], "a dict"),
    (Any, [1, None, frozenset()], [], "Any"),
    (ConfidenceShare, [{"type": "ConfidenceShare"}, None], [], "ConfidenceShare"),
]


@pytest.mark.parametrize(("annotation", "good", "bad", "words"), CASES, ids=lambda c: str(c)[:40])
def test_fits_values(annotation: Any, good: list[Any], bad: list[Any], words: str) -> None:
    """Each annotation with values that fit, values that do not, and its words."""
    assert [value for value in good if not fits(value, annotation)] == []
    assert [value for value in bad if fits(value, annotation)] == []
    assert in_words(annotation) == words


def test_annotations_of_values() -> None:
    """Those of our classes alone: others take more than they say."""
    assert annotations_of(ConfidenceShare)["threshold"] is float
    assert fits("error", annotations_of(FolderDataset)["unmapped"])
    assert annotations_of(dict) == {}
