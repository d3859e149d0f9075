"""Rare class sampling: formula, tables, crop test, adaptive `min_pixels`, errors, parity."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.parity.daformer_sampling import check_rcs, check_rcs_real
from uda.data.rare_class_sampling import (
    RareClassSampling,
    class_frequencies,
    class_probabilities,
    fetch_until,
)
from uda.data.statistics import ClassStatistics

NAMES = ["road", "train", "pole"]
COUNTS = np.array([[100, 0, 11], [100, 0, 10], [100, 5, 0], [100, 0, 40]])


def statistics(counts: Any = COUNTS) -> ClassStatistics:
    return ClassStatistics(files=[f"{i}.png" for i in range(len(counts))], counts=np.array(counts))


def test_class_probabilities_values() -> None:
    """f = (0.75, 0, 0.25), T = 0.5: weights exp(0.5) and exp(1.5), so p_0 = 1 / (1 + e)."""
    probabilities = class_probabilities(np.array([0.75, 0.0, 0.25]), 0.5)
    assert probabilities[0] == pytest.approx(1 / (1 + math.e))
    assert probabilities[1] == 0
    assert probabilities.sum() == pytest.approx(1)


@given(
    counts=arrays(np.int64, (4, 6), elements=st.integers(0, 10**6)),
    temperature=st.sampled_from([0.01, 0.1, 1.0, math.inf]),
)
def test_class_probabilities_properties(counts: Any, temperature: float) -> None:
    counts[0, 0] += 1
    frequencies = class_frequencies(counts)
    probabilities = class_probabilities(frequencies, temperature)
    assert frequencies.sum() == pytest.approx(1)
    assert probabilities.sum() == pytest.approx(1)
    present = frequencies > 0
    assert (probabilities[~present] == 0).all()
    ordered = probabilities[present][np.argsort(frequencies[present])]
    assert (np.diff(ordered) <= 1e-15).all()


def test_table_uses_a_strict_threshold() -> None:
    """Pole counts 11, 10, 0, 40 with min_pixels=10: image 1 is out, its 10 are not more than 10."""
    table = RareClassSampling(min_pixels=10, classes=["pole", 0]).table(statistics(), NAMES)
    assert table.classes.tolist() == [2, 0]
    assert [images.tolist() for images in table.images] == [[0, 3], [0, 1, 2, 3]]
    assert table.crop_pixels(1) == table.crop_pixels(10**6) == 5.0


def test_auto_min_pixels_scales_with_area() -> None:
    """A quarter of the reference image, 526x957, asks for 750 pixels; a 256x256 crop for 375."""
    full = statistics([[526 * 957 - 4000, 2000, 2000]] * 3)
    sampling = RareClassSampling()
    assert sampling.table(full, NAMES).min_pixels == 750
    assert sampling.crop_pixels(256 * 256) == 375.0
    assert sampling.image_pixels(statistics()) == 1


def test_draw_gives_a_class_its_image_shows() -> None:
    table = RareClassSampling(min_pixels=4, temperature=0.3).table(statistics(), NAMES)
    generator = np.random.RandomState(0)
    drawn = [table.draw(generator) for _ in range(200)]
    assert all(COUNTS[image, index] > 4 for index, image in drawn)
    assert {index for index, _ in drawn} == {0, 1, 2}


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 10))
def test_fetch_until_properties(values: list[int], retries: int) -> None:
    """The first value above 5 among the first retries + 1, else the last of those, unchecked."""
    values += [0] * 12
    found, fetches = fetch_until(iter(values).__next__, lambda value: value > 5, retries)
    tried = values[: retries + 1]
    wanted = next((i for i, value in enumerate(tried) if value > 5), retries)
    assert (found, fetches) == (values[wanted], wanted + 1)


def test_no_image_qualifies() -> None:
    message = (
        r"no image has more than min_pixels=30 pixels of class 1 \(train\); the most in one image "
        r"is 5\. Lower min_pixels .* without 'train'"
    )
    with pytest.raises(ValueError, match=message):
        RareClassSampling(min_pixels=30).table(statistics(), NAMES)
    allowed = RareClassSampling(min_pixels=30, classes=["road", "pole"])
    assert allowed.table(statistics(), NAMES).classes.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, r"temperature must be above 0, got 0\.0"),
        ({"min_pixels": "big"}, "a number or 'auto', got 'big'"),
        ({"min_pixels": -1}, "min_pixels must be at least 0 or 'auto', got -1"),
        ({"retries": -1}, "min_crop_share and retries must be at least 0"),
    ],
)
def test_argument_errors(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RareClassSampling(**arguments)


def test_table_errors() -> None:
    with pytest.raises(ValueError, match="classes names 'tram'; wanted an id 0..2 or one of"):
        RareClassSampling(classes=["tram"]).table(statistics(), NAMES)
    empty = statistics([[10, 0, 5]])
    with pytest.raises(ValueError, match=r"class 1 \(train\) is listed in classes but no image"):
        RareClassSampling(classes=[1]).table(empty, NAMES)
    with pytest.raises(ValueError, match="statistics of 3 classes for a data set of 2 classes"):
        RareClassSampling().table(statistics(), NAMES[:2])
    with pytest.raises(ValueError, match="hold no labelled pixel"):
        class_frequencies(np.zeros((2, 3), np.int64))
    with pytest.raises(ValueError, match="no class occurs"):
        class_probabilities(np.zeros(3), 0.1)
    with pytest.raises(ValueError, match="temperature must be above 0, got -1"):
        class_probabilities(np.ones(3) / 3, -1)


def test_rcs_parity(shared: Path) -> None:
    checks = check_rcs(shared / "fixtures" / "daformer" / "rcs_a.npz")
    checks += check_rcs_real(shared / "fixtures" / "rcs_real" / "expected.json")
    assert [check for check in checks if not check[1] <= check[2]] == []


@pytest.mark.parametrize(
    ("name", "rarest", "commonest"),
    [
        ("cityscapes", 0.077, 4.9e-5),
        ("acdc", 0.078, 2.2e-4),
        ("synthia", 0.105, 2.5e-4),
        ("wilddash", 0.081, 2.1e-4),
    ],
)
def test_temperature_of_vfm_uda(shared: Path, name: str, rarest: float, commonest: float) -> None:
    """At T = 0.05 real statistics give the probabilities known of VFM-UDA++, rounded as there."""
    file = shared / "fixtures" / "rcs_real" / f"{name}_sample_class_stats.json.gz"
    if not file.is_file():
        pytest.skip(f"no shared fixtures: {file} does not exist")
    counts = ClassStatistics.load(file, 19).counts
    table = RareClassSampling(temperature=0.05, min_pixels=3000).table(
        ClassStatistics(files=[str(i) for i in range(len(counts))], counts=counts),
        [str(index) for index in range(19)],
    )
    assert table.probabilities[0] == pytest.approx(rarest, rel=0.01)
    assert table.probabilities[-1] == pytest.approx(commonest, rel=0.03)
