"""What is recorded of a run, asked of small data sets, configs and optimisers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict

from uda.data.pairs import SourceTargetPairs
from uda.data.pseudo_label_set import PseudoLabelledTarget
from uda.data.statistics import ClassStatistics
from uda.engine.optim import BFloat16OptimWrapper
from uda.engine.run_facts import (
    dataset_facts,
    datasets_of,
    precision_of,
    settings_of,
    weights_facts,
)
from uda.models.timm_encoder import packaged_weights_file

from .tiny_run import data_config, pseudo_labelled, write_data, write_pseudo_labels


def pairs(root: Path, **arguments: Any) -> SourceTargetPairs:
    """The training data of a tiny run."""
    config = data_config(root, 0)["train_dataloader"]["dataset"]
    built = SourceTargetPairs(source=config["source"], target=config["target"], **arguments)
    built.full_init()
    return built


def sha256(path: Path) -> str:
    """Digest of a small file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_dataset_facts_values(tmp_path: Path) -> None:
    """Numbers of source and target; the same data elsewhere has the same digests."""
    data = pairs(write_data(tmp_path / "one"))
    source, target = dataset_facts(data), dataset_facts(data.target)
    assert (source["items"], source["images"]["files"], source["labels"]["files"]) == (4, 4, 4)
    assert source.keys() == {"items", "images", "labels"}
    assert target.keys() == {"items", "images"}
    assert target["images"]["digest"] != source["images"]["digest"]
    again = pairs(write_data(tmp_path / "two"))
    assert dataset_facts(again) == source
    file = tmp_path / "two" / "source" / "labels" / "3.png"
    file.write_bytes(file.read_bytes() + b"x")
    changed = dataset_facts(again)
    assert changed["images"] == source["images"]
    assert changed["labels"]["digest"] != source["labels"]["digest"]


def test_dataset_facts_of_rare_class_sampling(tmp_path: Path) -> None:
    """The statistics that are used: found beside the labels, or named by the config."""
    root = write_data(tmp_path)
    found = dataset_facts(pairs(root, sampling={"min_pixels": 1}))["statistics"]
    written = root / "source" / "labels" / "class_statistics.json"
    assert found == {"file": "class_statistics.json", "sha256": sha256(written)}
    named = tmp_path / "mine.json"
    ClassStatistics.load(written, 3).save(named)
    written.unlink()
    sampling = {"min_pixels": 1, "statistics": str(named)}
    found = dataset_facts(pairs(root, sampling=sampling))["statistics"]
    assert found == {"file": "mine.json", "sha256": sha256(named)}
    data = pairs(root, sampling=sampling)
    named.unlink()
    assert dataset_facts(data)["statistics"] is None


class Listed:
    """A data set of mmengine's kind that keeps its list packed."""

    data_list: tuple[dict[str, str], ...] = ()

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def get_data_info(self, index: int) -> dict[str, str]:
        """One entry."""
        return {"img_path": str(self.paths[index])}


def test_dataset_facts_of_other_data_sets(tmp_path: Path) -> None:
    """mmengine's packed list is asked item by item; of any other set the length is known."""
    files = [tmp_path / f"{number}.png" for number in range(2)]
    for file in files:
        file.write_bytes(b"123")
    facts = dataset_facts(Listed(files))
    assert (facts["items"], facts["images"]["files"], facts["images"]["bytes"]) == (2, 2, 6)
    assert dataset_facts([1, 2, 3]) == {"items": 3}


def test_datasets_of_values() -> None:
    """Source, target and validation, as far as the run has them."""

    def runner(training: Any, validation: Any) -> Any:
        loader = SimpleNamespace(dataset=validation)
        return SimpleNamespace(
            train_dataloader=SimpleNamespace(dataset=training),
            val_loop=None if validation is None else SimpleNamespace(),
            val_dataloader=loader,
        )

    both = SimpleNamespace(source="s", target="t")
    assert dict(datasets_of(runner(both, "v"))) == {
        "source": both,
        "target": "t",
        "validation": "v",
    }
    alone = SimpleNamespace(source="s", target=None)
    assert dict(datasets_of(runner(alone, None))) == {"source": alone}
    assert dict(datasets_of(runner("other", None))) == {"training": "other"}


def test_weights_facts_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files as named, by their place; packages, addresses and missing files; paths as given."""
    monkeypatch.chdir(tmp_path)
    Path("w.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    network = {
        "backbone": {"type": "TimmEncoder", "weights": "w.pth"},
        "neck": {"init_cfg": {"type": "Pretrained", "checkpoint": "https://example.org/x.pth"}},
        "heads": [{"weights": None}, {"weights": "efficientnet-lite0"}, {"class_weight": [1.0]}],
    }
    model = {"network": network, "method": {"terms": [{"weight": 0.5}]}, "pretrained": "gone.pth"}
    assert weights_facts(Config({"model": model, "load_from": "w.pth"})) == {
        "model.network.backbone.weights": {"file": "w.pth", "sha256": digest},
        "model.network.neck.init_cfg.checkpoint": {
            "file": "https://example.org/x.pth",
            "sha256": None,
        },
        "model.network.heads.1.weights": {
            "file": "efficientnet-lite0",
            "sha256": sha256(packaged_weights_file()),
        },
        "model.pretrained": {"file": "gone.pth", "sha256": None},
        "load_from": {"file": "w.pth", "sha256": digest},
    }
    assert weights_facts(Config({"load_from": "w.pth", "resume": True})) == {}


def test_weights_of_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record does not need it; building the network will say so."""

    def missing() -> Path:
        raise ModuleNotFoundError("not installed")

    monkeypatch.setattr("uda.engine.run_facts.packaged_weights_file", missing)
    config = Config({"model": {"weights": "efficientnet-lite0"}})
    assert weights_facts(config)["model.weights"]["sha256"] is None


def test_settings_of_values() -> None:
    """Without the folder; a run that was resumed from a file has the settings of one that ran."""
    settings = {"model": {"a": (1, 2)}, "load_from": None}
    first = Config({**settings, "work_dir": "x", "experiment_name": "x", "resume": False})
    again = Config({**settings, "work_dir": "y", "resume": True, "load_from": "x/iter_3.pth"})
    assert settings_of(first) == settings_of(again) == settings


def test_precision_of_values() -> None:
    """In the words of --amp, whether the option or the config chose it."""
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert precision_of(OptimWrapper(optimiser)) == "off"
    assert precision_of(BFloat16OptimWrapper(optimiser)) == "bf16"
    amp = AmpOptimWrapper.__new__(AmpOptimWrapper)  # its constructor asks for a GPU
    for dtype, wanted in ((None, "fp16"), (torch.float16, "fp16"), (torch.bfloat16, "bf16")):
        amp.cast_dtype = dtype
        assert precision_of(amp) == wanted


def test_pseudo_labelled_facts_values(tmp_path: Path) -> None:
    """Images and pseudo-labels of a target that is trained on alone."""
    root = write_data(tmp_path)
    target = data_config(root, 0)["train_dataloader"]["dataset"]["target"]
    config = pseudo_labelled(target, write_pseudo_labels(root))
    config.pop("type")
    data = PseudoLabelledTarget(**config)
    data.full_init()
    loader = SimpleNamespace(dataset=data)
    runner = SimpleNamespace(train_dataloader=loader, val_loop=None)
    ((name, dataset),) = datasets_of(runner)
    facts = dataset_facts(dataset)
    assert name == "target"
    assert (facts["items"], facts["images"]["files"], facts["labels"]["files"]) == (4, 4, 4)


def test_precision_with_opponents_values() -> None:
    """That of the student's optimiser."""
    layer = torch.nn.Linear(1, 1)
    student = BFloat16OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0))
    other = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0))
    assert precision_of(OptimWrapperDict(student=student, discriminator=other)) == "bf16"
