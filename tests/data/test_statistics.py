"""Class statistics: counting, the formats they are kept in, and files that are not statistics."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from uda.data.labels import read_label
from uda.data.statistics import (
    ClassStatistics,
    apply_label_map,
    count_folder,
    count_label,
)

SMALL = ClassStatistics(files=["ulm/a.png", "b.png"], counts=np.array([[3, 0, 5], [0, 0, 8]]))


def save_label(path: Path, rows: list[list[int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(rows, dtype=np.uint8)).save(path)
    return path


def test_count_label_values() -> None:
    """Of the 2x3 map two pixels are class 0, one is class 2, one is ignored, two are class 1."""
    label = np.array([[0, 1, 255], [1, 0, 2]], dtype=np.uint8)
    assert count_label(label, 4).tolist() == [2, 2, 1, 0]
    assert count_label(label, 4).dtype == np.int64


def test_count_label_errors() -> None:
    with pytest.raises(ValueError, match=r"label id 7 \(2 pixels\) is outside 0..2"):
        count_label(np.array([[7, 7, 0]]), 3)
    with pytest.raises(ValueError, match=r"integer array \(H, W\), got float64"):
        count_label(np.zeros((2, 2)), 3)
    with pytest.raises(ValueError, match="negative id -1"):
        count_label(np.array([[-1]]), 3)


@given(st.lists(st.integers(0, 4) | st.just(255), min_size=1, max_size=60))
def test_count_label_properties(ids: list[int]) -> None:
    """The counts add up to the pixels that are not ignored."""
    counts = count_label(np.array([ids]), 5)
    assert counts.sum() == sum(value != 255 for value in ids)
    assert counts.tolist() == [ids.count(value) for value in range(5)]


def test_apply_label_map_values() -> None:
    raw = np.array([[7, 300], [255, 7]], dtype=np.int32)
    assert apply_label_map(raw, {7: 0, 300: 4}).tolist() == [[0, 4], [255, 0]]
    assert apply_label_map(raw, {7: 0}, unknown_to_ignore=True).tolist() == [[0, 255], [255, 0]]


def test_apply_label_map_errors() -> None:
    with pytest.raises(ValueError, match=r"label id 9 \(2 pixels\) is not in the label map \[7\]"):
        apply_label_map(np.array([[9, 9, 7]]), {7: 0})
    with pytest.raises(ValueError, match="outside 0..65535"):
        apply_label_map(np.array([[-3]]), {7: 0})


def test_count_folder_values(tmp_path: Path) -> None:
    paths = [
        save_label(tmp_path / "x/a.png", [[7, 8], [8, 255]]),
        save_label(tmp_path / "b.png", [[7]]),
    ]
    seen: list[int] = []
    stats = count_folder(
        paths, num_classes=2, label_map={7: 0, 8: 1}, root=tmp_path, progress=seen.append
    )
    assert stats.files == ["x/a.png", "b.png"]
    assert stats.counts.tolist() == [[1, 2], [1, 0]]
    assert stats.class_pixels.tolist() == [2, 2]
    assert stats.images_with_class.tolist() == [2, 1]
    assert seen == [1, 2]


def test_count_folder_errors(tmp_path: Path) -> None:
    path = save_label(tmp_path / "a.png", [[3]])
    with pytest.raises(ValueError, match=r"a.png: label id 3 \(1 pixels\)"):
        count_folder([path], num_classes=2, root=tmp_path)
    with pytest.raises(ValueError, match=r"a.png: label id 3 .* not in the label map"):
        count_folder([path], num_classes=2, label_map={0: 0}, root=tmp_path)
    with pytest.raises(ValueError, match="is not inside the label folder"):
        count_folder([path], num_classes=9, root=tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="workers must be at least 1"):
        count_folder([path], num_classes=9, root=tmp_path, workers=0)


def test_read_label_palette_gives_the_indices(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1), 11)
    image.putpalette([200, 100, 0] * 256)
    image.save(tmp_path / "p.png")
    assert read_label(tmp_path / "p.png").tolist() == [[11, 11]]


def test_errors_have_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"label file not found: {tmp_path}/gone.png"):
        read_label("gone.png")
    with pytest.raises(FileNotFoundError, match=f"statistics not found: {tmp_path}/gone.json"):
        ClassStatistics.load("gone.json", 3)
    Path("bad.json").write_text("{")
    with pytest.raises(ValueError, match=f"class statistics {tmp_path}/bad.json: not complete"):
        ClassStatistics.load("bad.json", 3)


def test_read_label_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"label file not found: .*gone.png"):
        read_label(tmp_path / "gone.png")
    whole = save_label(
        tmp_path / "a.png", np.random.default_rng(0).integers(0, 9, (64, 64)).tolist()
    )
    whole.write_bytes(whole.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"cannot read label file .*a.png"):
        read_label(whole)
    Image.new("RGB", (2, 2)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb.png has shape \(2, 2, 3\); wanted one channel"):
        read_label(tmp_path / "rgb.png")


def test_class_statistics_errors() -> None:
    with pytest.raises(ValueError, match="1 files but 2 rows"):
        ClassStatistics(files=["a"], counts=np.zeros((2, 3), dtype=int))
    with pytest.raises(ValueError, match="'a' is listed more than once"):
        ClassStatistics(files=["a", "a"], counts=np.zeros((2, 3), dtype=int))
    with pytest.raises(ValueError, match=r"a pixel count is negative \(-1\)"):
        ClassStatistics(files=["a"], counts=np.array([[-1]]))
    with pytest.raises(ValueError, match="got float64 of shape"):
        ClassStatistics(files=["a"], counts=np.zeros((1, 3)))


def test_select_values() -> None:
    """The whole path decides; a base name serves when only one row has it."""
    assert SMALL.select(["b.png", "a.png"]).counts.tolist() == [[0, 0, 8], [3, 0, 5]]
    assert SMALL.select(["b.png", "a.png"]).files == ["b.png", "a.png"]


def test_select_errors() -> None:
    with pytest.raises(ValueError, match="no row for label file 'c.png'"):
        SMALL.select(["c.png"])
    twice = ClassStatistics(files=["x/a.png", "y/a.png"], counts=np.array([[1], [2]]))
    with pytest.raises(ValueError, match="2 rows of that name for label file 'a.png'"):
        twice.select(["a.png"])


@settings(max_examples=50)
@given(
    st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), max_size=5, unique=True),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_save_load_properties(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], num_classes: int, seed: int
) -> None:
    """What is written is read again: any file name, any count."""
    files = [f"{name}/l.png" for name in names]
    counts = np.random.default_rng(seed).integers(0, 2**40, (len(files), num_classes))
    path = tmp_path_factory.mktemp("statistics") / "class_statistics.json"
    ClassStatistics(files=files, counts=counts).save(path)
    loaded = ClassStatistics.load(path, num_classes)
    assert loaded.files == files
    assert np.array_equal(loaded.counts, counts)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


OLDER: dict[str, Any] = {
    "sample_class_stats.json": [
        {"0": 3, "2": 5, "255": 9, "file": "data/gta/labels/ulm/a.png"},
        {"2": 8, "file": "data/gta/labels/b.png"},
    ],
    "sample_class_stats_dict.json": {
        "data/gta/labels/ulm/a.png": {"0": 3, "2": 5},
        "data/gta/labels/b.png": {"2": 8},
    },
    "samples_with_class.json": {
        "0": [["data/gta/labels/ulm/a.png", 3]],
        "2": [["data/gta/labels/ulm/a.png", 5], ["data/gta/labels/b.png", 8]],
    },
}


@pytest.mark.parametrize("name", sorted(OLDER))
def test_load_older_formats(tmp_path: Path, name: str) -> None:
    """All three say the same; the folder ``data/gta/labels`` that all paths share is cut off."""
    (tmp_path / name).write_text(json.dumps(OLDER[name]))
    loaded = ClassStatistics.load(tmp_path / name, 3)
    assert loaded.files == SMALL.files
    assert loaded.counts.tolist() == SMALL.counts.tolist()


def test_load_drop_unknown(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps([{"0": 3, "19": 5, "file": "a.png"}]))
    with pytest.raises(ValueError, match=r"class 19 of 'a.png' is outside 0..18.*drop_unknown"):
        ClassStatistics.load(path, 19)
    assert ClassStatistics.load(path, 19, drop_unknown=True).counts.sum() == 3


BAD = [
    ("", "not complete JSON"),
    ("[{", "not complete JSON"),
    ("\udcff", "not a text file"),
    ("[" * 100_000, "nested too deeply|not complete JSON"),
    ("3", "no statistics inside, got 3"),
    ("[]", "no statistics inside"),
    ('{"0": []}', "no statistics inside"),
    ('{"a": 1}', "of no known format"),
    ("[7]", "wanted .class: pixels"),
    ('[{"0": 1}]', "wanted .class: pixels"),
    ('[{"0": 1, "file": true}]', "a label file path was wanted, got True"),
    ('[{"0": 1, "file": "a"}, {"file": "a"}]', "'a' is listed more than once"),
    ('[{"0": 1, "file": "a/b"}, {"file": "a//b"}]', "'b' is listed more than once"),
    ('[{"road": 1, "file": "a"}]', "a class id was wanted, got 'road'"),
    ('[{"0": -1, "file": "a"}]', "a pixel count .* was wanted, got -1"),
    ('[{"0": 1.5, "file": "a"}]', "was wanted, got 1.5"),
    ('[{"0": NaN, "file": "a"}]', "was wanted, got nan"),
    ('[{"0": 1, "00": 1, "file": "a"}]', "class 0 of 'a' is listed more than once"),
    ('[{"0": 99999999999999999999, "file": "a"}]', "a pixel count"),
    ('{"0": [["a"]]}', r"class 0: wanted \[file, pixels\]"),
    ('{"version": 2}', "version 2 is not known here"),
    ('{"version": 1, "num_classes": 19, "images": []}', "made for 19 classes, wanted 3"),
    ('{"version": 1, "num_classes": 3, "images": {}}', "'images' must be a list, got a dict"),
    ('{"version": 1, "num_classes": 3, "images": [5]}', "image 0 must be"),
    ('{"version": 1, "num_classes": 3, "images": [["a", [1]]]}', "1 counts for 'a', wanted 3"),
    (
        '{"version": 1, "num_classes": 3, "images": [["a", [1,1,1]], ["a", [1,1,1]]]}',
        "listed more than once",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_load_errors(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "class_statistics.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message) as raised:
        ClassStatistics.load(path, 3)
    assert str(path) in str(raised.value)


def test_load_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"class statistics not found: .*gone.json"):
        ClassStatistics.load(tmp_path / "gone.json", 3)
    path = tmp_path / "half.json.gz"
    path.write_bytes(gzip.compress(b'[{"0": 1, "file": "a"}]' * 99)[:-20])
    with pytest.raises(ValueError, match="half.json.gz"):
        ClassStatistics.load(path, 3)


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["0", "1", "255", "file", "version", "num_classes", "images"])
            | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200)
@given(JSON_LIKE.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40))
def test_load_hostile_properties(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the bytes are: statistics of three classes, or a ValueError that names the file."""
    path = tmp_path_factory.mktemp("hostile") / "class_statistics.json"
    path.write_bytes(content)
    try:
        loaded = ClassStatistics.load(path, 3)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert loaded.counts.shape == (len(loaded.files), 3)


@pytest.mark.parametrize("name", ["cityscapes", "acdc"])
def test_load_real_statistics(shared: Path, name: str) -> None:
    """The sums over real files are those computed from the formula, stored beside them."""
    folder = shared / "fixtures" / "rcs_real"
    expected = json.loads((folder / "expected.json").read_text())[name]
    stats = ClassStatistics.load(folder / f"{name}_sample_class_stats.json.gz", 19)
    assert len(stats.files) == expected["images"]
    assert stats.class_pixels.tolist() == [expected["pixel_count"][str(k)] for k in range(19)]
    assert stats.class_pixels.sum() == expected["labelled_pixels"]
