"""Several source and target data sets at once: who is drawn how often, statistics, errors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmseg.registry import DATASETS

import uda.data.registration  # noqa: F401
from tests.data.folders import CLASSES, folder_config, write_domain
from uda.data.joined import JoinedDatasets, build_joined, only_target, settings_of
from uda.data.pairs import SourceTargetPairs
from uda.data.rare_class_sampling import RareClassSampling
from uda.data.statistics import ClassStatistics


@pytest.fixture
def domains(tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    """Configs of two sources of 3 and 6 images, and of two targets of 2 and 4."""
    sources = [write_domain(tmp_path / f"source{n}", n) for n in (3, 6)]
    targets = [write_domain(tmp_path / f"target{n}", n, labels=False) for n in (2, 4)]
    return {
        "source": [folder_config(root) for root in sources],
        "target": [folder_config(root, labelled=False) for root in targets],
    }


def build(**arguments: Any) -> SourceTargetPairs:
    """Pairs of these data sets."""
    built: SourceTargetPairs = DATASETS.build({"type": "SourceTargetPairs", **arguments})
    return built


def drawn(pairs: SourceTargetPairs, count: int, domain: str = "source") -> Counter[str]:
    """How often each set was drawn."""
    items = (pairs[(0, draw)][domain] for draw in range(count))
    return Counter(Path(i["data_samples"].img_path).parents[1].name for i in items)


def test_epoch_values(domains: dict[str, Any]) -> None:
    """Without sampling each image of each set comes once an epoch: 3 + 6, and 2 + 4."""
    pairs = build(**domains)
    assert len(pairs) == 9
    assert drawn(pairs, 9) == {"source3": 3, "source6": 6}
    assert drawn(pairs, 6, "target") == {"target2": 2, "target4": 4}
    assert pairs.metainfo["classes"] == tuple(CLASSES)


def test_items_are_a_pure_function(domains: dict[str, Any]) -> None:
    """Whatever was drawn before, a draw gives the same images, of whichever set."""
    sampling = {"temperature": 0.1, "min_pixels": 20}
    names = []
    for order in (range(6), reversed(range(6))):
        pairs = build(**domains, sampling=sampling)
        found = {d: pairs[(3, d)] for d in order}
        names.append({d: item["source"]["inputs"].sum().item() for d, item in found.items()})
    assert names[0] == names[1]


def test_own_pipeline_values(domains: dict[str, Any]) -> None:
    """Each set is read by its own pipeline, with rare class sampling too."""
    domains["source"][1]["pipeline"][3] = {"type": "RandomCrop", "crop_size": (8, 8)}
    pairs = build(**domains, sampling={"temperature": 1.0, "min_pixels": 0})
    sizes = {}
    for draw in range(30):
        item = pairs[(0, draw)]["source"]
        name = Path(item["data_samples"].img_path).parents[1].name
        sizes[name] = tuple(item["inputs"].shape[1:])
    assert sizes == {"source3": (16, 16), "source6": (8, 8)}


def test_merged_statistics_values() -> None:
    """Counts of all sets make one P, and an image of any set can be drawn; 'each' keeps them apart.

    Set A has 90 road and 10 pole in one image, set B 300 road in three: f_pole = 10/400.
    """
    first = ClassStatistics(files=["a.png"], counts=np.array([[90, 10]]))
    second = ClassStatistics(files=["a.png", "b.png", "c.png"], counts=np.array([[100, 0]] * 3))
    joined = ClassStatistics.joined([first, second])
    assert joined.files == ["0/a.png", "1/a.png", "1/b.png", "1/c.png"]
    sampling = RareClassSampling(temperature=1.0, min_pixels=5)
    table = sampling.tables([first, second], ["road", "pole"])
    ratio = np.exp((1 - 10 / 400) - (1 - 390 / 400))
    assert table.classes.tolist() == [1, 0]  # type: ignore[union-attr]
    assert table.probabilities[0] / table.probabilities[1] == pytest.approx(ratio)  # type: ignore[union-attr]
    assert [i.tolist() for i in table.images] == [[0], [0, 1, 2, 3]]  # type: ignore[union-attr]

    apart = RareClassSampling(temperature=1e6, min_pixels=5, over="each")
    tables = apart.tables([first, second], ["road", "pole"])
    draws = [tables.draw(np.random.RandomState(seed)) for seed in range(2000)]
    counts = Counter(int(image > 0) for _, image in draws)
    assert counts[1] / 2000 == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 2000) ** 0.5)
    poles = sum(k == 1 for k, image in draws if image == 0) / counts[0]
    assert poles == pytest.approx(0.5, abs=4 * 0.5 / counts[0] ** 0.5)


def test_auto_min_pixels_values() -> None:
    """ "auto" asks each set for what its own size of images means: 750 of a quarter's area."""
    quarter, whole = 526 * 957, 1052 * 1914
    small = ClassStatistics(files=["a"], counts=np.array([[quarter - 800, 800]]))
    large = ClassStatistics(files=["a"], counts=np.array([[whole - 800, 800]]))
    table = RareClassSampling().tables([small, large], ["road", "pole"])
    assert [i.tolist() for i in table.images] == [[0], [0, 1]]  # type: ignore[union-attr]
    assert table.min_pixels == 750  # type: ignore[union-attr]


def test_statistics_files(domains: dict[str, Any], tmp_path: Path) -> None:
    """A file for each source is written, and read the next time."""
    files = [str(tmp_path / f"{n}.json") for n in range(2)]
    sampling = {"min_pixels": 20, "statistics": files}
    build(**domains, sampling=sampling).full_init()
    assert [len(ClassStatistics.load(file, 3).files) for file in files] == [3, 6]
    build(**domains, sampling=sampling).full_init()


def test_errors(domains: dict[str, Any], tmp_path: Path) -> None:
    """Other classes, a wrong number of files, an empty set, no drawable class, unknown `over`."""
    other = {**domains["source"][1], "classes": ["road", "sky", "tree"]}
    with pytest.raises(ValueError, match="first source data set has the classes .*, number 2 "):
        build(source=[domains["source"][0], other])
    for files in ("one.json", ["one.json"]):
        with pytest.raises(ValueError, match=r"names 1 file\(s\) for 2 source data sets; give a"):
            build(**domains, sampling={"statistics": files, "min_pixels": 1}).full_init()
    with pytest.raises(ValueError, match="no image has more than min_pixels=600 pixels of class"):
        build(**domains, sampling={"min_pixels": 600}).full_init()
    with pytest.raises(ValueError, match="over has to be 'all' or 'each', got 'both'"):
        RareClassSampling(over="both")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="The list of target data sets is empty"):
        JoinedDatasets([], name="target")
    with pytest.raises(ValueError, match=r"of \[1, 2\] classes cannot be joined"):
        ClassStatistics.joined(
            [ClassStatistics(files=["a"], counts=np.ones((1, k), int)) for k in (1, 2)]
        )
    with pytest.raises(IndexError, match="there are 9 images, got index 9"):
        build_joined(domains["source"], "source")[9]
    missing = folder_config(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        build(source=[domains["source"][0], missing]).full_init()


def test_settings_values(domains: dict[str, Any]) -> None:
    """One config, several, none; and those who need a single target say so."""
    from mmengine.config import Config

    assert settings_of(None) == []
    assert len(settings_of(domains["source"])) == 2
    config = Config({"train_dataloader": {"dataset": {"target": domains["target"]}}})
    with pytest.raises(ValueError, match="Rounds do this, but this config has 2: use a config"):
        only_target(config, "Rounds do this")
    config.train_dataloader.dataset.target = domains["target"][:1]
    assert only_target(config, "")["image_dir"] == "images"
