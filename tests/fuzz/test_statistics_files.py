"""Files of class statistics: damaged, of wrong types and sizes, and in all four formats."""

from __future__ import annotations

import copy
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from uda.data.source_statistics import FILE_NAME, OLDER_NAMES, dataset_statistics
from uda.data.statistics import ClassStatistics
from uda.data.statistics_formats import MOST_PIXELS, is_own_format

from .bounded import bounded, spoiled

CLASSES = 3
FILES = ["ulm/a.png", "ulm/b.png", "jena/c.png"]
COUNTS = [[3, 0, 5], [0, 0, 8], [1, MOST_PIXELS, 0]]
OWN = {
    "version": 1,
    "num_classes": CLASSES,
    "images": [[f, c] for f, c in zip(FILES, COUNTS, strict=True)],
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, -1, 0.0, 1.5, math.nan, math.inf, -math.inf, 2**40 + 1, 2**63, 10**400]
    + ["", "x", "1", [], {}, [1], {"0": 1}, "a\0b", "\ud800", 0, 1, 7]
)


def older(files: list[str], counts: list[list[int]]) -> dict[str, Any]:
    """The same statistics in the three older formats, zeros left out."""
    by_file = {
        f: {str(k): n for k, n in enumerate(c) if n} for f, c in zip(files, counts, strict=True)
    }
    by_class = {
        str(k): [[f, c[k]] for f, c in zip(files, counts, strict=True) if c[k]]
        for k in range(CLASSES)
    }
    return {
        "sample_class_stats.json": [{**counted, "file": f} for f, counted in by_file.items()],
        "sample_class_stats_dict.json": by_file,
        "samples_with_class.json": by_class,
    }


FORMATS = {"class_statistics.json": OWN, **older(FILES, COUNTS)}


def loaded(path: Path) -> ClassStatistics | None:
    """Statistics that are right in themselves and survive a round trip; None for the error."""
    try:
        found = ClassStatistics.load(path, CLASSES)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "tools/prepare_data.py" in str(error)  # noqa: PT017
        return None
    assert found.counts.shape == (len(found.files), CLASSES)
    assert found.counts.dtype == np.int64
    assert found.counts.size == 0 or 0 <= found.counts.min() <= found.counts.max() <= MOST_PIXELS
    copied = path.with_name("copy.json")
    found.save(copied)
    again = ClassStatistics.load(copied, CLASSES)
    assert again.files == found.files
    assert np.array_equal(again.counts, found.counts)
    return found


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in a tree of lists and dicts."""
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [path, *[place for key, inner in pairs for place in nodes(inner, (*path, key))]]


def changed(content: Any, path: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    """A copy with another value at a place, or nothing there."""
    if not path:
        return value
    content = copy.deepcopy(content)
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    if remove:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return content


@pytest.mark.parametrize("name", FORMATS)
@bounded(80)
@given(data=st.data(), remove=st.booleans())
def test_one_wrong_value_properties(
    tmp_path: Path, name: str, data: st.DataObject, remove: bool
) -> None:
    """A value of another type or size, or missing, anywhere: never taken for a count it is not."""
    place = data.draw(st.sampled_from(nodes(FORMATS[name])))
    odd = data.draw(ODD)
    path = tmp_path / name
    path.write_text(json.dumps(changed(FORMATS[name], place, odd, remove=remove)))
    found = loaded(path)
    is_count = bool(place) and place[-1] != 0 and isinstance(_at(FORMATS[name], place), int)
    is_count = is_count and place[-1] not in ("version", "num_classes")
    whole = isinstance(odd, int) and not isinstance(odd, bool) and 0 <= odd <= MOST_PIXELS
    if is_count and not remove and found is not None:
        assert whole
        assert odd == 0 or odd in found.counts


def _at(content: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        content = content[key]
    return content


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
@bounded(60)
@given(data=st.data())
def test_damaged_bytes_properties(
    tmp_path: Path, name: str, packed: bool, data: st.DataObject
) -> None:
    """Bits flipped, bytes exchanged, cut off; gzip has a checksum and never gives other numbers."""
    content = json.dumps(FORMATS[name]).encode()
    content = gzip.compress(content, mtime=0) if packed else content
    path = tmp_path / name
    path.write_bytes(data.draw(spoiled(content)))
    found = loaded(path)
    is_own_format(path)
    if packed and found is not None:
        wanted = {f: c for f, c in zip(FILES, COUNTS, strict=True)}
        assert dict(zip(found.files, found.counts.tolist(), strict=True)) == wanted


@bounded(80)
@given(
    files=st.lists(
        st.lists(st.text("abé .-_", min_size=1, max_size=4), min_size=1, max_size=3),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 2**32 - 1),
    prefix=st.sampled_from(["", "data/gta/labels/", "/elsewhere/"]),
)
def test_four_formats_say_the_same_properties(
    tmp_path: Path, files: list[list[str]], seed: int, prefix: str
) -> None:
    """Any files and counts: each format gives the same numbers for the files asked for."""
    names = ["/".join(parts) for parts in files if not set(parts) & {".", ".."}]
    bases = [name.rpartition("/")[2] for name in names]
    assume(names and len(set(bases)) == len(bases))
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 2**40, (len(names), CLASSES))
    counts[generator.random(counts.shape) < 0.3] = 0
    counts[:, 0] += counts.sum(1) == 0  # `samples_with_class.json` knows no file without a class
    own = tmp_path / "class_statistics.json"
    ClassStatistics(files=names, counts=counts).save(own)
    assert np.array_equal(ClassStatistics.load(own, CLASSES).select(names).counts, counts)
    for name, content in older([prefix + name for name in names], counts.tolist()).items():
        (tmp_path / name).write_text(json.dumps(content))
        found = ClassStatistics.load(tmp_path / name, CLASSES)
        assert np.array_equal(found.select(bases).counts, counts)


class Labels:
    """A data set of three label files, which are counted where no statistics fit."""

    def __init__(self, folder: Path) -> None:
        self.label_dir, self.metainfo = str(folder), {"classes": ["a", "b", "c"]}

    def __len__(self) -> int:
        return len(FILES)

    def get_data_info(self, index: int) -> dict[str, Any]:
        """The label's path."""
        return {"seg_map_path": f"{self.label_dir}/{FILES[index]}", "label_map": None}


@pytest.mark.parametrize("name", [FILE_NAME, *OLDER_NAMES])
@bounded(25)
@given(data=st.data())
def test_a_data_set_beside_any_file_properties(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: st.DataObject
) -> None:
    """Whatever the file says, the counts are the labels' own; no other file is overwritten."""
    labels = {f: np.full((2, 3), i % CLASSES) for i, f in enumerate(FILES)}
    monkeypatch.setattr("uda.data.statistics.read_label", lambda p: labels["/".join(p.parts[-2:])])
    monkeypatch.setattr("uda.data.source_statistics.print_log", lambda *_, **__: None)
    folder = tmp_path / "labels"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    place = data.draw(st.sampled_from(nodes(FORMATS[name])))
    content = json.dumps(changed(FORMATS[name], place, data.draw(ODD), remove=False)).encode()
    content = data.draw(st.sampled_from([content, content[:-9], b"", b"[]"]))
    (folder / name).write_bytes(content)
    ours = is_own_format(folder / name)
    found = dataset_statistics(Labels(folder))
    assert found.counts.tolist() == [[6, 0, 0], [0, 6, 0], [0, 0, 6]]
    kept = (folder / name).read_bytes() == content
    assert kept or ours
