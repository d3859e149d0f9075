"""`SourceTargetPairs`: equal items for equal draws, epochs, rare classes, statistics, errors."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from torch.utils.data import DataLoader

import uda.data.registration  # noqa: F401
from tests.data.folders import folder_config, write_domain, write_image
from uda.data.pairs import SourceTargetPairs, split_pipeline
from uda.data.sampler import DrawSampler

SAMPLING = {"temperature": 0.1, "min_pixels": 20}


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    target = write_domain(tmp_path / "target", 5, labels=False)
    return write_domain(tmp_path / "source", 7), target


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines of the log, collected."""
    lines: list[str] = []
    for module in ("pairs", "source_statistics"):
        monkeypatch.setattr(
            f"uda.data.{module}.print_log", lambda message, *_, **__: lines.append(message)
        )
    return lines


def build(roots: tuple[Path, Path], **changes: Any) -> SourceTargetPairs:
    config = {
        "type": "SourceTargetPairs",
        "source": folder_config(roots[0]),
        "target": folder_config(roots[1], labelled=False),
    }
    return DATASETS.build({**config, **changes})


def loader(pairs: SourceTargetPairs, workers: int) -> DataLoader[Any]:
    sampler = DrawSampler(pairs, seed=3)
    return DataLoader(
        pairs, batch_size=2, sampler=sampler, num_workers=workers, collate_fn=pseudo_collate
    )


def flatten(item: dict[str, Any]) -> list[torch.Tensor]:
    source, target = item["source"], item["target"]
    labels = [sample.gt_sem_seg.data for sample in source["data_samples"]]
    return [*source["inputs"], *labels, *target["inputs"]]


@pytest.mark.parametrize("sampling", [None, SAMPLING])
def test_items_do_not_depend_on_workers(roots: tuple[Path, Path], sampling: Any) -> None:
    pairs = build(roots, sampling=sampling)
    batches = [[flatten(b) for b in islice(loader(pairs, workers), 8)] for workers in (0, 2)]
    for here, there in zip(*batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("sampling", [None, SAMPLING])
def test_items_are_a_pure_function(roots: tuple[Path, Path], sampling: Any) -> None:
    pairs = build(roots, sampling=sampling)
    state = np.random.get_state()[1].copy()
    first = pairs[(0, 4)]
    pairs[(1, 9)]
    again = pairs[(0, 4)]
    assert torch.equal(first["source"]["inputs"], again["source"]["inputs"])
    assert torch.equal(first["target"]["inputs"], again["target"]["inputs"])
    assert np.array_equal(state, np.random.get_state()[1])
    assert not torch.equal(first["source"]["inputs"], pairs[(1, 4)]["source"]["inputs"])


def names(pairs: SourceTargetPairs, kind: str, draws: range) -> list[str]:
    return [Path(pairs[(0, draw)][kind]["data_samples"].img_path).stem for draw in draws]


def test_every_image_once_an_epoch(roots: tuple[Path, Path]) -> None:
    pairs = build(roots)
    assert len(pairs) == 7
    source, target = names(pairs, "source", range(35)), names(pairs, "target", range(35))
    assert set(Counter(source).values()) == {5}
    assert set(Counter(target).values()) == {7}
    assert all(len(set(source[i : i + 7])) == 7 for i in range(0, 35, 7))
    assert len(set(zip(source, target, strict=True))) > 15


def test_streams_are_separate(roots: tuple[Path, Path]) -> None:
    """Other source sampling leaves the target items, no target leaves the source items."""
    plain, rare, alone = build(roots), build(roots, sampling=SAMPLING), build(roots, target=None)
    for draw in range(4):
        item = plain[(0, draw)]
        assert torch.equal(item["target"]["inputs"], rare[(0, draw)]["target"]["inputs"])
        assert torch.equal(item["source"]["inputs"], alone[(0, draw)]["source"]["inputs"])
        assert "target" not in alone[(0, draw)]


def test_rare_class_is_in_the_crop(roots: tuple[Path, Path]) -> None:
    """Class 2 covers 64 of 768 pixels in images 0, 3, 6; drawn alone, only they come.

    Crops must show more than 10 pixels of it where 10 retries find such a crop.
    """
    pairs = build(roots, sampling={"min_pixels": 20, "classes": ["pole"]})
    items = [pairs[(0, draw)]["source"]["data_samples"] for draw in range(20)]
    assert {Path(item.img_path).stem for item in items} == {"000", "003", "006"}
    shown = [int((item.gt_sem_seg.data == 2).sum()) for item in items]
    assert np.mean([pixels > 10 for pixels in shown]) > 0.9


def test_image_is_read_once_for_all_crops(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No crop of 256 pixels has more than 1000 of a class: 11 crops are made, one file is read."""
    pairs = build(roots, sampling={"min_pixels": 20, "min_crop_share": 50.0, "classes": ["pole"]})
    pairs.full_init()
    load, crop, rest = split_pipeline(pairs.source.pipeline.transforms)
    assert [len(load), len(crop), len(rest)] == [2, 2, 3]
    calls: Counter[str] = Counter()

    def counted(name: str, original: Any, results: Any) -> Any:
        calls[name] += 1
        return original(results)

    for name, transform in (("load", load[0]), ("crop", crop[1])):
        monkeypatch.setattr(transform, "transform", partial(counted, name, transform.transform))
    pairs[(0, 0)]
    assert calls == {"load": 1, "crop": 11}


def test_statistics_are_kept_and_recounted_when_wrong(roots: tuple[Path, Path]) -> None:
    kept = roots[0] / "labels" / "class_statistics.json"
    build(roots, sampling=SAMPLING).full_init()
    good = kept.read_bytes()
    modified = kept.stat().st_mtime_ns
    build(roots, sampling=SAMPLING).full_init()
    assert kept.stat().st_mtime_ns == modified
    content = json.loads(good)
    content["images"][0][1][0] += 1
    kept.write_text(json.dumps(content))
    build(roots, sampling=SAMPLING).full_init()
    assert kept.read_bytes() == good
    write_domain(roots[0], 8)
    pairs = build(roots, sampling=SAMPLING)
    pairs.full_init()
    assert len(json.loads(kept.read_bytes())["images"]) == len(pairs) == 8


def test_statistics_at_the_root_are_found(roots: tuple[Path, Path]) -> None:
    build(roots, sampling=SAMPLING).full_init()
    kept = roots[0] / "labels" / "class_statistics.json"
    kept.rename(roots[0] / "class_statistics.json")
    build(roots, sampling=SAMPLING).full_init()
    assert not kept.exists()


def test_statistics_in_a_file_of_choice(roots: tuple[Path, Path], tmp_path: Path) -> None:
    place = tmp_path / "work" / "counts.json"
    build(roots, sampling={**SAMPLING, "statistics": str(place)}).full_init()
    assert place.is_file()
    assert not (roots[0] / "labels" / "class_statistics.json").exists()


def test_statistics_stay_in_memory_if_unwritable(roots: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder is wanted")
    place = str(tmp_path / "file" / "counts.json")
    pairs = build(roots, sampling={**SAMPLING, "statistics": place})
    pairs.full_init()
    assert pairs.table is not None


def older_statistics(root: Path, *, changed: int = 0) -> str:
    """The older tools' list of the labels of `write_domain`, class 1 counted `changed` too much."""
    rows = []
    for path in sorted((root / "labels").glob("*.png")):
        pixels = np.bincount(cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ravel(), minlength=3)
        rows.append(
            {"0": int(pixels[0]), "1": int(pixels[1]) + changed, "2": int(pixels[2]),
             "file": f"elsewhere/labels/{path.name}"}
        )  # fmt: skip
    return json.dumps(rows)


def test_older_statistics_are_found(roots: tuple[Path, Path]) -> None:
    """Where no file is ours, those of the older tools count, and nothing is written."""
    (roots[0] / "sample_class_stats.json").write_text(older_statistics(roots[0]))
    pairs = build(roots, sampling=SAMPLING)
    pairs.full_init()
    assert pairs.table is not None
    assert not list(roots[0].rglob("class_statistics.json"))


def test_older_statistics_are_never_overwritten(
    roots: tuple[Path, Path], logged: list[str]
) -> None:
    """A file of another format stays; ours goes beside it once and is used from then on."""
    older = roots[0] / "sample_class_stats.json"
    beside = roots[0] / "class_statistics.json"
    sampling = {**SAMPLING, "statistics": str(older)}
    for wrong in (older_statistics(roots[0], changed=1), "{", '{"version": 2}'):
        older.write_text(wrong)
        beside.unlink(missing_ok=True)
        build(roots, sampling=sampling).full_init()
        assert older.read_text() == wrong
        kept = beside.read_bytes()
        assert len(json.loads(kept)["images"]) == 7
    assert f"class statistics go to {beside}: {older} is of another format" in "\n".join(logged)
    logged.clear()
    build(roots, sampling=sampling).full_init()
    assert not [line for line in logged if "counting" in line]
    write_domain(roots[0], 8)
    build(roots, sampling=sampling).full_init()
    assert beside.read_bytes() == kept
    assert "class statistics stay in memory" in logged[-1]


def test_damaged_statistics_beside_the_labels_stay(
    roots: tuple[Path, Path], logged: list[str]
) -> None:
    damaged = roots[0] / "labels" / "class_statistics.json"
    damaged.write_text("{")
    build(roots, sampling=SAMPLING).full_init()
    assert damaged.read_text() == "{"
    assert f"stay in memory: {damaged} is of another format and left as it is; remove it" in (
        "\n".join(logged)
    )


@pytest.mark.parametrize("sampling", [None, SAMPLING])
def test_classes_without_pixels_are_named(
    roots: tuple[Path, Path], logged: list[str], sampling: Any
) -> None:
    """Class 3 is in no label: one warning, without sampling only where a file has the numbers."""
    source = folder_config(roots[0], classes=["road", "sky", "pole", "train"])
    pairs = build(roots, source=source, sampling=sampling)
    pairs.full_init()
    pairs.full_init()
    warning = "the 7 source labels have no pixel of: train;"
    assert sum(warning in line for line in logged) == (sampling is not None)
    build(roots, source=source, sampling=SAMPLING).full_init()
    logged.clear()
    build(roots, source=source, sampling=sampling).full_init()
    assert sum(warning in line for line in logged) == 1


def test_statistics_know_unmapped_ids(roots: tuple[Path, Path]) -> None:
    label = np.full((24, 32), 77, np.uint8)
    label[:10] = 2
    write_image(roots[0] / "labels" / "001.png", label)
    pairs = build(roots, source=folder_config(roots[0], unmapped="ignore"), sampling=SAMPLING)
    pairs.full_init()
    assert pairs.table is not None
    assert 1 in pairs.table.images[0]


def test_errors(roots: tuple[Path, Path]) -> None:
    with pytest.raises(TypeError, match=r"wants an index \(seed, draw\), got 3; set sampler=dict"):
        build(roots)[3]
    with pytest.raises(
        ValueError, match=r"no argument 'temprature'\. Did you mean 'temperature'\?"
    ):
        build(roots, sampling={"temprature": 0.1})
    with pytest.raises(ValueError, match="sampling type must be 'RareClassSampling', got 'Other'"):
        build(roots, sampling={"type": "Other"})
    unlabelled = folder_config(roots[1], labelled=False)
    with pytest.raises(ValueError, match="rare class sampling needs labels, but image .* has none"):
        build(roots, source=unlabelled, sampling=SAMPLING).full_init()
    with pytest.raises(ValueError, match="the target data set is empty"):
        build(roots, target=[]).full_init()


def test_dropped_image_is_an_error(roots: tuple[Path, Path]) -> None:
    for sampling in (None, SAMPLING):
        pairs = build(roots, sampling=sampling)
        pairs.full_init()
        pairs.source.pipeline.transforms[3] = lambda results: None
        pairs.source.max_refetch = 1
        with pytest.raises(Exception, match=r"dropped the image|Cannot find valid image"):
            pairs[(0, 0)]


def test_metainfo_is_the_sources(roots: tuple[Path, Path]) -> None:
    assert build(roots).metainfo["classes"] == ("road", "sky", "pole")


def equal(one: Any, two: Any) -> bool:
    """Whether two packed items hold the same pixels."""
    return torch.equal(one["inputs"], two["inputs"])


def test_further_pairs_values(roots: tuple[Path, Path]) -> None:
    """Item d of a set with two further pairs holds draws 3d, 3d + 1 and 3d + 2 of one without."""
    plain, further = build(roots), build(roots, further=2)
    for item in (0, 4):
        pair = further[(3, item)]
        assert set(pair) == {"source", "target", "further"}
        assert len(pair["further"]) == 2
        for number, one in enumerate([pair, *pair["further"]]):
            wanted = plain[(3, 3 * item + number)]
            assert equal(one["source"], wanted["source"])
            assert equal(one["target"], wanted["target"])


@pytest.mark.parametrize("workers", [0, 2])
def test_further_pairs_collate_values(roots: tuple[Path, Path], workers: int) -> None:
    """A batch of two holds, for each further step, a batch of two."""
    pairs = build(roots, further=2)
    batch = next(iter(loader(pairs, workers)))
    assert len(batch["further"]) == 2
    for number, later in enumerate(batch["further"]):
        assert len(later["source"]["inputs"]) == 2
        own = pairs[(3, 1)]["further"][number]["target"]["inputs"]
        assert torch.equal(later["target"]["inputs"][1], own)


def test_second_target_values(roots: tuple[Path, Path]) -> None:
    """It changes nothing else, has an order of its own, and comes once an epoch too."""
    plain, second = build(roots), build(roots, second_target=True)
    one, two = plain[(3, 1)], second[(3, 1)]
    assert equal(one["source"], two["source"])
    assert equal(one["target"], two["target"])
    items = [second[(3, draw)] for draw in range(5)]
    paths = {
        name: [item[name]["data_samples"].img_path for item in items]
        for name in ("target", "second_target")
    }
    assert len(set(paths["second_target"])) == 5
    assert paths["second_target"] != paths["target"]


def test_further_errors(roots: tuple[Path, Path]) -> None:
    """A negative number, and a second target image of none."""
    with pytest.raises(ValueError, match="further has to be at least 0, got -1"):
        build(roots, further=-1)
    with pytest.raises(ValueError, match="second_target=True needs a target data set"):
        build(roots, target=None, second_target=True)
