"""`uda.train`, `evaluate`, `load`, `predict`: what the commands do, without the commands."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import uda
from tests.engine.scoring import Checkpoints, write_checkpoints
from tests.engine.tiny_run import CLASSES, PALETTE
from uda.data.images import read_image
from uda.engine.evaluate import evaluate, evaluation_dataset, load_network
from uda.engine.train import load_config
from uda.evaluation import SegmentationMetric

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of a tiny run."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def image_of(files: Checkpoints) -> Path:
    """A labelled target image."""
    return files.config.parent / "data/val/images/0.png"


def test_names_are_imported_when_used() -> None:
    """`import uda` and `dir(uda)` load nothing heavy; a wrong name is an AttributeError."""
    code = (
        "import sys, uda; print(*dir(uda)); print(*{'torch', 'mmseg', 'numpy'} & {*sys.modules}); "
        "print(uda.predict.__module__)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert set(uda.__all__) <= set(told[0].split())
    assert told[1:] == ["", "uda.interface"]
    with pytest.raises(AttributeError, match="module 'uda' has no attribute 'adept'"):
        uda.adept  # noqa: B018


def test_evaluate(files: Checkpoints) -> None:
    """Scores and confusion matrix of the scoring tool; changes of the config count."""
    config = load_config(files.config)
    wanted = evaluate(
        load_network(config, files.full, "teacher"),
        evaluation_dataset(config),
        metric=SegmentationMetric(),
        workers=0,
    )
    found = uda.evaluate(files.config, files.full, network="teacher", workers=0)
    assert found.metrics == wanted.metrics
    assert torch.equal(found.matrix, wanted.matrix)
    ways = {
        "views": {"scales": (0.5,), "flip": True},
        "windows": {"slide": (32, 32)},
        "statistics": {"target_statistics": image_of(files).parent},
    }
    for way in ways.values():
        other = uda.evaluate(files.config, files.full, network="teacher", workers=0, **way)
        assert not torch.equal(other.matrix, wanted.matrix)
    one = uda.evaluate(
        files.config, files.full, on="val", workers=0, val_dataloader={"dataset": {"indices": 1}}
    )
    assert one.images == 1


def test_predict(files: Checkpoints) -> None:
    """A file and its RGB pixels give one label; the model says its classes."""
    model = uda.load(files.config, files.deploy / "teacher.pth")
    assert (model.network.name, model.classes.names) == ("teacher", tuple(CLASSES))
    assert [list(colour) for colour in model.classes.palette] == PALETTE
    by_path = uda.predict(model, image_of(files))
    rgb = read_image(image_of(files))[..., ::-1]
    by_pixels = uda.predict(model, rgb)
    assert np.array_equal(by_path.label, by_pixels.label)
    assert by_path.label.shape == (64, 64)
    bgr = uda.predict(model, rgb[..., ::-1])
    assert not np.array_equal(bgr.confidence, by_path.confidence)
    mirrored = uda.predict(model, image_of(files), flip=True)
    assert not np.array_equal(mirrored.confidence, by_path.confidence)


def test_errors(files: Checkpoints, tmp_path: Path) -> None:
    """Those of the commands: unknown keys, networks, images; a stride without windows."""
    with pytest.raises(ValueError, match="unknown key 'train_cgf'.* Did you mean 'train_cfg'"):
        uda.train(files.config, work_dir=tmp_path, train_cgf={"max_iters": 1})
    with pytest.raises(ValueError, match=r"give their size as slide=\(H, W\)"):
        uda.load(files.config, files.full, stride=(8, 8))
    with pytest.raises(ValueError, match="has no evaluation set 'night'"):
        uda.evaluate(files.config, files.full, on="night")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        uda.predict(uda.load(files.config, files.full), "nowhere.png")
    (tmp_path / "iter_3.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="holds checkpoints of an earlier run"):
        uda.train(files.config, work_dir=tmp_path)


@pytest.mark.slow
def test_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script in docs/: two runs, pictures, an exported model; no label file of the target."""
    script = PROJECT / "docs/tutorial_own_folders.py"
    spec = importlib.util.spec_from_file_location("tutorial_own_folders", script)
    assert spec is not None
    assert spec.loader is not None
    tutorial = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tutorial)
    monkeypatch.setattr(
        sys, "argv", [str(script), "--iterations", "2", "--images", "3", "--size", "96", "128",
                      "--work-dir", str(tmp_path)],
    )  # fmt: skip
    tutorial.main()
    printed = capsys.readouterr().out
    assert printed.count("mean confidence") == 3
    assert "model.pt2: largest difference of logits" in printed
    assert not [path for path in (tmp_path / "street").rglob("*") if "label" in path.name.lower()]
    assert len(list(tmp_path.glob("*_leftImg8bit.png"))) == 3
    for run in ("adapt", "source_only"):
        assert (tmp_path / run / "run.json").is_file()
