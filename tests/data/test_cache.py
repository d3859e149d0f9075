"""A cache of images and labels: equal items, what is noticed, and what it takes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from torch.utils.data import DataLoader

import uda.data.registration  # noqa: F401
from tests.data.folders import folder_config, write_domain, write_image
from uda.data.cache.build import build_cache, cache_image
from uda.data.cache.format import CachedFile, CacheFileError, Source, write_cached
from uda.data.cache.steps import cache_plan
from uda.data.cache.use import CachedCrop, LoadCached
from uda.data.pairs import SourceTargetPairs
from uda.data.sampler import DrawSampler

SIZE = (40, 56)
RESIZE = {"type": "Resize", "scale": (48, 30), "keep_ratio": True}
MARGINS = {"type": "PseudoLabelMargins", "top": 3, "right": 5}
CROP = {"type": "RandomCrop", "crop_size": (16, 20)}
FLIP = {"type": "RandomFlip", "prob": 0.5}
PACK = {"type": "PackSegInputs"}
SAMPLING = {"temperature": 0.1, "min_pixels": 5}
# What stands between reading and packing of source and target.
PIPELINES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "resized": ([RESIZE, {**CROP, "cat_max_ratio": 0.75}, FLIP], [RESIZE, CROP, FLIP]),
    "never varied": ([RESIZE, {**CROP, "cat_max_ratio": 0.05}, FLIP], [RESIZE, CROP]),
    "other shape": ([{"type": "Resize", "scale": (50, 20)}, CROP], [RESIZE, FLIP]),
    "by factor": ([{"type": "Resize", "scale_factor": 0.7}, CROP], [RESIZE, CROP]),
    "crop larger than image": ([{**RESIZE, "scale": (18, 12)}, CROP], [RESIZE, CROP]),
    "no resizing": ([{**CROP, "cat_max_ratio": 0.75}, FLIP], [FLIP]),
    "random resizing": (
        [{"type": "RandomResize", "scale": (48, 36), "ratio_range": (0.8, 1.5), "keep_ratio": True},
         {**CROP, "cat_max_ratio": 0.75}, FLIP],
        [{"type": "RandomResize", "scale": (48, 36), "ratio_range": (0.8, 1.5), "keep_ratio": True},
         CROP, FLIP],
    ),
    "colours": (
        [RESIZE, {"type": "PhotoMetricDistortion"}, CROP],
        [RESIZE, CROP, {"type": "PhotoMetricDistortion"}, FLIP],
    ),
}  # fmt: skip


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """Five labelled and four unlabelled images."""
    source = write_domain(tmp_path / "source", 5, size=SIZE)
    return source, write_domain(tmp_path / "target", 4, labels=False, size=SIZE)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines of the log that warn, collected."""
    lines: list[str] = []

    def note(message: str, _: Any, level: int) -> None:
        if level > 20:
            lines.append(message)

    monkeypatch.setattr("uda.data.cache.use.print_log", note)
    return lines


def pairs_of(
    roots: tuple[Path, Path], kind: str = "resized", margins: bool = False, **changes: Any
) -> SourceTargetPairs:
    """The data set of a run."""
    of_source, of_target = PIPELINES[kind]
    load: list[dict[str, Any]] = [{"type": "LoadImage"}, {"type": "LoadLabel"}]
    first = [load[0], *([MARGINS] if margins else [])]
    pack = {"type": "PackTarget"} if margins else PACK
    source = folder_config(roots[0], pipeline=[*load, *of_source, PACK])
    target = folder_config(roots[1], labelled=False, pipeline=[*first, *of_target, pack])
    config = {"type": "SourceTargetPairs", "source": source, "target": target, "cache": None}
    return DATASETS.build({**config, **changes})


def cached_pairs(roots: tuple[Path, Path], folder: Path, *args: Any, **changes: Any) -> Any:
    """The same, reading a cache that is written here."""
    plain = pairs_of(roots, *args)
    for dataset in (plain.source, plain.target):
        build_cache(dataset, folder)
    pairs = pairs_of(roots, *args, cache=str(folder), **changes)
    pairs.full_init()
    for dataset in (pairs.source, pairs.target):
        assert isinstance(dataset.pipeline.transforms[0], LoadCached)
    return pairs


def parts(item: Any) -> list[Any]:
    """Every tensor of an item, and all that is known of it."""
    found = []
    for one in (item["source"], item["target"]):
        sample = one["data_samples"]
        found += [one["inputs"], dict(sample.metainfo_items())]
        found += [sample.get(name).data for name in sorted(sample.keys())]
    return found


def assert_equal(one: Any, other: Any) -> None:
    """Two items are the same to the bit."""
    for mine, theirs in zip(parts(one), parts(other), strict=True):
        if isinstance(mine, dict):
            assert mine == theirs
            assert {n: type(v) for n, v in mine.items()} == {n: type(v) for n, v in theirs.items()}
        else:
            assert mine.dtype == theirs.dtype
            assert mine.shape == theirs.shape
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("kind", sorted(PIPELINES))
@pytest.mark.parametrize("sampling", [None, SAMPLING])
def test_items_are_equal(
    roots: tuple[Path, Path], tmp_path: Path, kind: str, sampling: Any, warnings: list[str]
) -> None:
    """Every kind of pipeline, with and without rare class sampling."""
    plain = pairs_of(roots, kind, sampling=sampling)
    cached = cached_pairs(roots, tmp_path / "cache", kind, sampling=sampling)
    for draw in range(12):
        assert_equal(cached[(3, draw)], plain[(3, draw)])
    assert warnings == []


def test_items_of_margins_and_shared_crops_are_equal(
    roots: tuple[Path, Path], tmp_path: Path
) -> None:
    """The valid map is cached as well, and both domains are cut alike."""
    settings: dict[str, Any] = {"shared_crop": (8, 8), "further": 1}
    plain = pairs_of(roots, "resized", True, **settings)
    cached = cached_pairs(roots, tmp_path / "cache", "resized", True, **settings)
    for draw in range(8):
        one, other = cached[(0, draw)], plain[(0, draw)]
        assert_equal(one, other)
        assert_equal(one["further"][0], other["further"][0])
        assert "valid_map" in one["target"]["data_samples"]


def test_what_is_given_may_be_written_into(roots: tuple[Path, Path], tmp_path: Path) -> None:
    """Items are copies: writing into one changes neither the next nor the cache."""
    cached = cached_pairs(roots, tmp_path / "cache")
    for kind in ("source", "target"):
        before = cached[(0, 0)][kind]["inputs"].clone()
        cached[(0, 0)][kind]["inputs"].zero_()
        assert torch.equal(cached[(0, 0)][kind]["inputs"], before)


def test_workers_share_a_cache(roots: tuple[Path, Path], tmp_path: Path) -> None:
    """Two processes of a loader give what one gives."""
    cached, plain = cached_pairs(roots, tmp_path / "cache"), pairs_of(roots)
    sampler = DrawSampler(cached, seed=1)
    loader = DataLoader(
        cached, batch_size=2, sampler=sampler, num_workers=2, collate_fn=pseudo_collate
    )
    batch = next(iter(loader))
    for draw in range(2):
        assert torch.equal(batch["source"]["inputs"][draw], plain[(1, draw)]["source"]["inputs"])


def file_of(cached: Any, index: int = 0) -> tuple[Path, Path]:
    """The cached file of a source image, and the image."""
    load, info = cached.source.pipeline.transforms[0], cached.source.get_data_info(index)
    return load.plan.file(load.cache, info), Path(info["img_path"])


def flip_bit(path: Path, place: int) -> None:
    """Damage one bit."""
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "bytes, not"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"UDA"), "it is cut off"),
        (lambda path: flip_bit(path, 60), "its header is damaged"),
        (lambda path: flip_bit(path, -400), "its pixels are damaged"),  # of the label
        (lambda path: path.unlink(), "it is not there"),
    ],
)
def test_damage_falls_back_to_files(
    roots: tuple[Path, Path], tmp_path: Path, damage: Any, message: str, warnings: list[str]
) -> None:
    """One warning, whatever comes after it, and items as from the files."""
    cached, plain = cached_pairs(roots, tmp_path / "cache", "no resizing"), pairs_of(
        roots, "no resizing"
    )  # fmt: skip
    for index in (0, 1):
        damage(file_of(cached, index)[0])
    for draw in range(10):
        assert_equal(cached[(0, draw)], plain[(0, draw)])
    assert len(warnings) == 1
    assert message in warnings[0]
    assert "prepare_data.py --cache CONFIG" in warnings[0]


def test_damaged_rows_of_an_image(
    roots: tuple[Path, Path], tmp_path: Path, warnings: list[str]
) -> None:
    """A bit of the image is noticed by the crops that lie over its row, which are then right."""
    cached, plain = cached_pairs(roots, tmp_path / "cache"), pairs_of(roots)
    for index in range(5):
        path, _ = file_of(cached, index)
        opened = CachedFile.open(path)
        array = opened.arrays["img"]
        place = path.read_bytes().index(array[15].tobytes())  # in every crop
        flip_bit(path, place)
    for draw in range(20):
        assert_equal(cached[(0, draw)], plain[(0, draw)])
    assert len(warnings) == 1


def test_changed_files_are_read(
    roots: tuple[Path, Path], tmp_path: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another image or label under the same name; a new time alone changes nothing."""
    cached, plain = cached_pairs(roots, tmp_path / "cache"), pairs_of(roots)
    _, image = file_of(cached)
    os.utime(image, ns=(1, 1))
    for draw in range(5):
        assert_equal(cached[(0, draw)], plain[(0, draw)])
    assert warnings == []
    with monkeypatch.context() as patch:  # compared once, not at every reading
        patch.setattr("uda.data.cache.steps.source_of", None)
        assert_equal(cached[(0, 0)], plain[(0, 0)])
        cached.source[0]
    write_image(image, np.full((*SIZE, 3), 7, np.uint8))
    for draw in range(5):
        assert_equal(cached[(0, draw)], plain[(0, draw)])
    assert len(warnings) == 1
    assert f"{image} has changed" in warnings[0]


def test_other_settings_do_not_fit(
    roots: tuple[Path, Path], tmp_path: Path, warnings: list[str]
) -> None:
    """A cache of another size or label map is not used, and that is told once a data set."""
    cached_pairs(roots, tmp_path / "cache", "resized")
    other = pairs_of(roots, "by factor", cache=str(tmp_path / "cache"))
    plain = pairs_of(roots, "by factor")
    for draw in range(3):
        assert_equal(other[(0, draw)], plain[(0, draw)])
    assert len(warnings) == 1  # the target has the same steps
    assert "holds these images by other settings" in warnings[0]
    dataset = folder_config(roots[0], label_map={0: 0, 1: 1, 2: 255})
    plans = [cache_plan(DATASETS.build(config)) for config in (dataset, folder_config(roots[0]))]
    assert plans[0] is not None
    assert plans[1] is not None
    assert plans[0].name != plans[1].name


def test_building_goes_on_and_mends(roots: tuple[Path, Path], tmp_path: Path) -> None:
    """What is right is kept untouched; missing, damaged and stale files are written."""
    dataset, told = pairs_of(roots).source, []
    build_cache(dataset, tmp_path / "cache", tell=told.append)
    plan = cache_plan(dataset)
    assert plan is not None
    files = [plan.file(tmp_path / "cache", dataset.get_data_info(i)) for i in range(5)]
    assert sum(file.stat().st_size for file in files) <= told[0].wanted
    assert sum(file.stat().st_size for file in files) > told[0].wanted - 5 * 2048
    before = [file.stat().st_mtime_ns for file in files]
    files[0].unlink()
    flip_bit(files[1], -1 - 64)
    write_image(roots[0] / "images" / "002.png", np.zeros((*SIZE, 3), np.uint8))
    (files[0].parent / ".x.1.partial").write_bytes(b"half")
    steps: list[tuple[int, int]] = []
    build_cache(dataset, tmp_path / "cache", tell=told.append, progress=lambda *n: steps.append(n))
    assert told[1].kept == 4
    assert f"5 images, 4 of them cached; {told[1].wanted:,} bytes to write" in told[1].told()
    assert steps == [(n, 5) for n in range(1, 6)]
    after = [file.stat().st_mtime_ns for file in files]
    assert [a == b for a, b in zip(after, before, strict=True)] == [False] * 3 + [True] * 2
    assert not list(files[0].parent.glob(".*"))
    infos = [dataset.get_data_info(i) for i in range(5)]
    assert not any(cache_image(plan, tmp_path / "cache", info) for info in infos)


def test_a_full_disk_is_told_before(
    roots: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that are wanted and those that are free; nothing is written."""
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("uda.data.cache.build.shutil.disk_usage", lambda _: usage)
    told: list[Any] = []
    with pytest.raises(OSError, match=r"needs [\d,]+ bytes more, 1,000 bytes are free") as caught:
        build_cache(pairs_of(roots).source, tmp_path / "cache", tell=told.append)
    assert f"{told[0].wanted:,} bytes more" in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_what_cannot_be_cached(roots: tuple[Path, Path], tmp_path: Path) -> None:
    """Pipelines that begin otherwise are refused, and used as they are."""
    pipeline = [{"type": "LoadImageFromFile"}, PACK]
    config = folder_config(roots[0], labelled=False, pipeline=pipeline)
    dataset = DATASETS.build(config)
    with pytest.raises(ValueError, match="only a FolderDataset whose pipeline begins with LoadIm"):
        build_cache(dataset, tmp_path / "cache")
    assert cache_plan([1, 2]) is None
    with pytest.raises(TypeError, match="cannot cache x: float64 of 2 dimensions"):
        write_cached(tmp_path / "x", {"x": np.zeros((2, 2))}, key="", sources=(), values={})
    with pytest.raises(TypeError, match="cannot cache a value of type object"):
        write_cached(tmp_path / "x", {}, key="", sources=(), values={"a": object()})


def test_file_values(tmp_path: Path) -> None:
    """What is written comes back, arrays as views that cannot be written to."""
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    values = {"scale": (0.1, 2), "seg_fields": ["a"], "flip": None, "keep": True}
    source = (Source("a.png", 3, 10**18 + 1, "ab"),)
    write_cached(tmp_path / "f", {"img": image, "x": image[:, :, 0]}, key="k", sources=source,
                 values=values)  # fmt: skip
    opened = CachedFile.open(tmp_path / "f")
    assert (opened.key, opened.sources, opened.values) == ("k", source, values)
    assert np.array_equal(opened.arrays["img"], image)
    assert np.array_equal(opened.arrays["x"], image[:, :, 0])
    assert opened.intact("img", 1, 3)
    assert opened.whole()
    with pytest.raises(ValueError, match="read-only"):
        opened.arrays["img"][0] = 1
    (tmp_path / "g").write_bytes(b"NOCACHE!" + (tmp_path / "f").read_bytes()[8:])
    with pytest.raises(CacheFileError, match="header is damaged"):
        CachedFile.open(tmp_path / "g")


def test_other_versions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of a later version of the format."""
    monkeypatch.setattr("uda.data.cache.format.VERSION", 2)
    write_cached(tmp_path / "f", {}, key="", sources=(), values={})
    monkeypatch.setattr("uda.data.cache.format.VERSION", 1)
    with pytest.raises(CacheFileError, match="it is of version 2, not 1"):
        CachedFile.open(tmp_path / "f")


def test_crop_repr() -> None:
    """Names that the split of a pipeline goes by."""
    from mmseg.datasets.transforms import RandomCrop

    assert repr(CachedCrop(RandomCrop((2, 3)))) == "CachedCrop(crop_size=(2, 3), cat_max_ratio=1.0)"
