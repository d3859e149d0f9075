"""What benchmark servers ask for: numbers, sizes, names."""

from __future__ import annotations

import fnmatch
import re

import numpy as np
import pytest

from uda.data.class_tables import CITYSCAPES_IDS
from uda.evaluation import CITYSCAPES_CLASSES
from uda.evaluation.benchmark_formats import BENCHMARKS, LABEL_IDS, check_classes

# As cityscapesScripts and the server of Dark Zurich look for a prediction.
CITY = "berlin_000000_000019*.png"
FRAME = "GOPR0364_frame_000001*.png"
IMAGES = {
    "cityscapes": "leftImg8bit/test/berlin/berlin_000000_000019_leftImg8bit.png",
    "acdc": "rgb_anon/fog/test/GOPR0364/GOPR0364_frame_000001_rgb_anon.png",
    "dark_zurich": "rgb_anon/test/night/GOPR0364/GOPR0364_frame_000001_rgb_anon.png",
}


def maps(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Train ids 0 to 18 in the first row, the rest road; confidence from 0 to 1 along a row."""
    height, width = BENCHMARKS[name].size
    label = np.zeros((height, width), np.uint8)
    label[0, :19] = np.arange(19)
    return label, np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))


def test_label_ids_are_the_way_back() -> None:
    """The inverse of the table that reads labels, an independent list."""
    assert [CITYSCAPES_IDS[number] for number in LABEL_IDS] == list(range(19))


@pytest.mark.parametrize(
    ("name", "folders", "pattern", "size"),
    [
        ("cityscapes", [""], CITY, (1024, 2048)),
        ("acdc", ["labelTrainIds"], FRAME, (1080, 1920)),
        (
            "dark_zurich",
            ["labelTrainIds", "labelTrainIds_invalid", "confidence"],
            FRAME,
            (1080, 1920),
        ),
    ],
)
def test_files(name: str, folders: list[str], pattern: str, size: tuple[int, int]) -> None:
    """One file a folder that the server's pattern finds, of the server's size."""
    files = BENCHMARKS[name].files(IMAGES[name], *maps(name))
    assert [path.rpartition("/")[0] for path in files] == folders
    for path, one in files.items():
        assert fnmatch.fnmatch(path.rpartition("/")[2], pattern)
        assert one.shape == size
        assert one.dtype == (np.uint16 if path.startswith("confidence") else np.uint8)


def test_values() -> None:
    """Cityscapes takes label ids (car 26), the others train ids; confidence fills 16 bits."""
    label, confidence = maps("cityscapes")
    (ids,) = BENCHMARKS["cityscapes"].files(IMAGES["cityscapes"], label, confidence).values()
    assert ids[0, :19].tolist() == list(LABEL_IDS)
    assert ids[0, 13] == 26
    label, confidence = maps("dark_zurich")
    found = list(BENCHMARKS["dark_zurich"].files(IMAGES["dark_zurich"], label, confidence).values())
    assert np.array_equal(found[0], label)
    assert np.array_equal(found[1], label)
    assert found[2][0, [0, -1]].tolist() == [0, 65535]


def test_errors() -> None:
    """Another name, size, train id, or other classes."""
    city, (label, confidence) = BENCHMARKS["cityscapes"], maps("cityscapes")
    told = "finds predictions by the images' names, such as berlin_000000_000019_leftImg8bit.png; "
    with pytest.raises(ValueError, match=re.escape(told + "street.png is named otherwise")):
        city.files("street.png", label, confidence)
    with pytest.raises(ValueError, match=r"wants maps of 2048x1024 pixels; .* has 1024x512"):
        city.files(IMAGES["cityscapes"], label[:512, :1024], confidence[:512, :1024])
    with pytest.raises(ValueError, match=r"knows 19 classes; .* was given train id 19"):
        city.files(IMAGES["cityscapes"], np.where(label == 18, 19, label), confidence)
    check_classes(list(CITYSCAPES_CLASSES))
    with pytest.raises(ValueError, match=r"has 3 classes \('sky' in place of 'road'\)"):
        check_classes(["sky", "sidewalk", "building"])
    with pytest.raises(ValueError, match=r"has 18 classes \(another number\)"):
        check_classes(CITYSCAPES_CLASSES[:-1])
