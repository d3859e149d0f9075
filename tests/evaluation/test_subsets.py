"""Class subsets by name and their errors."""

from __future__ import annotations

import pytest

from uda.evaluation.subsets import CITYSCAPES_CLASSES, class_subset, named_subsets

CAMVID = ("road", "sky", "car")


def test_class_subset_values() -> None:
    """By trainId: SYNTHIA lacks 9 terrain, 14 truck, 16 train; 13 also lacks 3, 4, 5."""
    assert class_subset(19) == tuple(range(19))
    assert set(range(19)) - set(class_subset("16")) == {9, 14, 16}
    assert set(range(19)) - set(class_subset(13)) == {3, 4, 5, 9, 14, 16}
    assert len(CITYSCAPES_CLASSES) == 19


def test_class_subset_values_of_mmseg() -> None:
    """The names are those of mmseg's Cityscapes, in the same order."""
    from mmseg.utils import get_classes

    assert list(CITYSCAPES_CLASSES) == get_classes("cityscapes")


def test_class_subset_values_by_name() -> None:
    """Names and ids may be mixed, in any order, and follow the data set's own list."""
    assert class_subset(["car", 0], CAMVID) == (2, 0)
    assert class_subset(16, CITYSCAPES_CLASSES[::-1])[0] == 18
    assert named_subsets((16, "13"), CITYSCAPES_CLASSES).keys() == {"16", "13"}
    assert named_subsets({"thing": ["car"], "all": [0, 1, 2]}, CAMVID) == {
        "thing": (2,),
        "all": (0, 1, 2),
    }


def test_class_subset_errors() -> None:
    """Each message names what is wrong and what exists."""
    with pytest.raises(ValueError, match="unknown class subset '12'; known: 19, 16, 13"):
        class_subset(12)
    with pytest.raises(ValueError, match="no class 'roads' .* road, sky, car; did you mean 'road'"):
        class_subset(["roads"], CAMVID)
    with pytest.raises(ValueError, match="class subset 16: no class 'sidewalk' in this data set"):
        class_subset(16, CAMVID)
    with pytest.raises(ValueError, match=r"id 3 is outside \[0, 3\)"):
        class_subset([3], CAMVID)
    with pytest.raises(ValueError, match="different classes, at least one"):
        class_subset([0, "road"], CAMVID)
    with pytest.raises(ValueError, match="different classes, at least one"):
        class_subset([], CAMVID)
