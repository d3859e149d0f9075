"""Copy-paste of hard classes: choice by hand, banks, pasted pixels, draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.data.copy_paste import (
    PasteChoice,
    enlarged,
    hard_classes,
    image_banks,
    paste_classes,
    sampling_weights,
)


def test_hard_classes_values() -> None:
    """The lowest means first, a tie by id; an excluded class gives its place to the next."""
    means = np.array([0.9, 0.5, 0.7, 0.5, 0.8])
    assert hard_classes(means, 3).tolist() == [1, 3, 2]
    assert hard_classes(means, 3, excluded=[3]).tolist() == [1, 2, 4]


def test_hard_classes_errors() -> None:
    """More hard classes than there are."""
    with pytest.raises(ValueError, match=r"num_hard=3, but there are 3 classes, 1 .* from 1 to 2"):
        hard_classes(np.zeros(3), 3, excluded=[0])


def test_sampling_weights_values() -> None:
    """(1 - s)^2 = 0.01, 0.04, 0.25, 1: the last one, of which nothing was kept, is not allowed."""
    means = np.array([0.9, 0.8, 0.5, 0.0])
    np.testing.assert_allclose(
        sampling_weights(means, [0, 1, 2]), np.array([0.01, 0.04, 0.25, 0]) / 0.3
    )
    np.testing.assert_allclose(sampling_weights(means)[3], 1 / 1.3)
    assert sampling_weights(means, []).tolist() == [0, 0, 0, 0]
    assert sampling_weights(np.array([1.0, 1.0, 0.5]), [0, 1]).tolist() == [0.5, 0.5, 0]


def test_image_banks_values() -> None:
    """Ascending by count, ties by number; of 15 images round(1.5) = 2 go, of 5 round(0.5) = 0."""
    counts = np.array([[3, 0, 1, 2, 1, 0], [0] * 6])
    assert [bank.tolist() for bank in image_banks(counts)] == [[2, 4, 3, 0], []]
    many = np.arange(1, 16)[None]
    assert image_banks(many)[0].tolist() == list(range(2, 15))
    assert len(image_banks(many[:, :5])[0]) == 5
    assert image_banks(many, drop=0.0)[0].tolist() == list(range(15))


def scene(seed: int, size: tuple[int, int] = (6, 8)) -> tuple[Any, Any]:
    """An image of one colour a pixel and a label of classes 0..3 and 255."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    label = generator.choice(np.array([0, 1, 2, 3, 255], np.uint8), size)
    return image, label


@settings(deadline=None)
@given(seed=st.integers(0, 1000), classes=st.sets(st.integers(0, 3)))
def test_paste_properties(seed: int, classes: set[int]) -> None:
    """Image and label of a pixel come from one side; ignored pixels are never pasted."""
    (image, label), (other, other_label) = scene(seed), scene(seed + 1)
    new, new_label, pasted = paste_classes(image, label, other, other_label, sorted(classes))
    inside = np.isin(other_label, sorted(classes))
    np.testing.assert_array_equal(new, np.where(inside[..., None], other, image))
    np.testing.assert_array_equal(new_label, np.where(inside, other_label, label))
    np.testing.assert_array_equal(pasted, np.where(inside, other_label, 255))
    assert (new.dtype, new_label.dtype, pasted.dtype) == (np.uint8,) * 3


def test_paste_leaves_its_arguments_values() -> None:
    """The bank's arrays may be used again."""
    given_arrays = (*scene(0), *scene(1))
    before = [array.copy() for array in given_arrays]
    paste_classes(*given_arrays, [0, 1, 2, 3])
    for array, copy in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_paste_of_another_size_values() -> None:
    """A bank image of half the size is doubled: its pole in the corner covers 2x2 pixels."""
    image, label = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
    other = np.full((2, 3, 3), 200, np.uint8)
    other_label = np.full((2, 3), 255, np.uint8)
    other_label[0, 2] = 1
    new, new_label, _ = paste_classes(image, label, other, other_label, [1])
    assert (new_label[:2, 4:] == 1).all()
    assert (new[:2, 4:] == 200).all()
    assert new_label.sum() == 4
    assert (new > 0).sum() == 4 * 3


def test_enlarged_values() -> None:
    """Each pixel from the nearest one: doubled, and 2 to 3 by pixel centres."""
    label = np.array([[1, 2]], np.uint8)
    assert enlarged(label, (2, 4)).tolist() == [[1, 1, 2, 2]] * 2
    assert enlarged(label, (1, 3)).tolist() == [[1, 2, 2]]
    assert enlarged(label, (1, 2)) is label


def choice(**changes: Any) -> PasteChoice:
    """Classes 0, 1, 2 are hard; class 2 has no image."""
    arguments: dict[str, Any] = {
        "class_mean": np.array([0.5, 0.8, 0.0, 0.99]),
        "hard": np.array([2, 0, 1]),
        "banks": [np.array([4, 5]), np.array([6]), np.array([], np.int64), np.array([7])],
    }
    return PasteChoice(**{**arguments, **changes})


def test_draws_values() -> None:
    """Weights 0.25 and 0.04: class 0 in 86 % of draws; the class without images never."""
    random = np.random.RandomState(0)
    draws = [choice().draw(random, set()) for _ in range(2000)]
    assert {draw[0] for draw in draws if draw} == {0, 1}
    assert {draw[1] for draw in draws if draw} == {4, 5, 6}
    share = sum(draw[0] == 0 for draw in draws if draw) / len(draws)
    assert share == pytest.approx(0.25 / 0.29, abs=0.02)
    assert choice().draw(random, {0}) == (1, 6)
    assert choice().draw(random, {0, 1}) is None


def test_is_enough_values() -> None:
    """Two hard classes have images, so one pasted class is half; or three images; or one."""
    half, one = choice(), choice(until="one_image")
    assert [half.is_enough(*at) for at in ((set(), 0), (set(), 2), (set(), 3), ({1}, 1))] == [
        False,
        False,
        True,
        True,
    ]
    assert [one.is_enough(*at) for at in ((set(), 0), (set(), 1))] == [False, True]
    assert choice(banks=[np.array([], np.int64)] * 4).is_enough(set(), 0)
