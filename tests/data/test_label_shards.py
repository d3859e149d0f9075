"""Shards of a pass: which batches, names of files, joining, and what does not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.data.label_shards import Shard, finished_shards, join_shards
from uda.data.pseudo_labels import LabelledImage, Manifest


def part(number: int, images: list[str], pixels: int, mean: float, **changes: Any) -> Manifest:
    """The manifest of shard `number` of 2, a batch an image, with all pixels of class 0."""
    entries = [LabelledImage(name, f"{name}.png", (2, 2), (pixels, 0), (4, 0)) for name in images]
    settings = {"batch_size": 1, "key": "k", "shard": [number, 2]}
    content = {
        "classes": ["a", "b"],
        "images": entries,
        "class_mean": [mean, 0.0],
        "thresholds": [[0.1 * number, 0.9] for _ in images],
        "settings": settings,
        "checkpoint": {"file": f"{number}.pth", "sha256": "s", "network": "student"},
    }
    return Manifest(**{**content, **changes})


def write(folder: Path, *parts: Manifest) -> None:
    """Manifests and (empty) labels."""
    for one in parts:
        one.write(folder, Shard(*one.settings["shard"]).file("manifest.json"))
        for image in one.images:
            (folder / image.label).touch()


def test_join_values(tmp_path: Path) -> None:
    """Images in turn; the mean (3 images of 4 pixels at 0.5, 2 of 1 at 0.9) is 7.8 / 14."""
    write(tmp_path, part(1, ["a", "c", "e"], 4, 0.5), part(2, ["b", "d"], 1, 0.9))
    joined = join_shards(tmp_path)
    assert joined == Manifest.read(tmp_path)
    assert [image.image for image in joined.images] == ["a", "b", "c", "d", "e"]
    assert joined.thresholds == [[0.1, 0.9], [0.2, 0.9], [0.1, 0.9], [0.2, 0.9], [0.1, 0.9]]
    assert joined.class_mean == [pytest.approx(7.8 / 14), 0.0]
    assert joined.settings == {"batch_size": 1, "key": "k", "shards": 2}


def test_join_errors(tmp_path: Path) -> None:
    """None, one missing, of several sizes, of another pass, or a label that was not copied."""
    with pytest.raises(ValueError, match=r"manifest_1_of_2.json and so on; there is none\."):
        join_shards(tmp_path)
    write(tmp_path, part(2, ["b"], 1, 0.9))
    with pytest.raises(ValueError, match="number 1 of 2 is missing"):
        join_shards(tmp_path)
    for changes in (
        {"settings": {"batch_size": 2, "key": "k", "shard": [1, 2]}},
        {"checkpoint": {"file": "1.pth", "sha256": "other", "network": "student"}},
    ):
        write(tmp_path, part(1, ["a"], 1, 0.9, **changes))
        with pytest.raises(ValueError, match="shard 2 of 2 in .* is of another network, other"):
            join_shards(tmp_path)
    write(tmp_path, part(1, ["a"], 1, 0.9))
    (tmp_path / "b.png").unlink()
    with pytest.raises(ValueError, match=r"there is no .*b.png: copy the labels of all shards"):
        join_shards(tmp_path)
    (tmp_path / "manifest_1_of_1.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="there are shards of passes of several sizes"):
        join_shards(tmp_path)


@given(batches=st.integers(0, 30), count=st.integers(1, 9))
def test_shards_properties(batches: int, count: int) -> None:
    """Each batch belongs to exactly one shard, and the shards differ by at most one batch."""
    parts = [Shard(number + 1, count).of(range(batches)) for number in range(count)]
    assert sorted(sum(parts, [])) == list(range(batches))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_finished_shards_values(tmp_path: Path) -> None:
    """Other files of the folder are no shards."""
    for name in ("manifest.json", "manifest_2_of_3.json", "manifest_x.json", "a_of_b.png"):
        (tmp_path / name).touch()
    assert finished_shards(tmp_path) == [Shard(2, 3)]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "-1/2", "1/2/3", ""])
def test_parse_errors(text: str) -> None:
    """What is no share is refused."""
    with pytest.raises(ValueError, match='a shard is given as number/count, such as "2/4"'):
        Shard.parse(text)
