"""The tool on a tiny folder of images, and the stream behind it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import timm
import torch

from uda.commands.adapt_classifier import run as main
from uda.engine import classifier_stream
from uda.engine.classifier_stream import (
    labelled_images,
    load_classifier,
    prequential_accuracy,
    stream,
)
from uda.registry import ADAPTERS
from uda.tta import METHODS

NAME = "test_resnet"  # timm's smallest
READING = {"size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3, "seed": 0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of three classes in folders, a CSV of them, and weights of four classes."""
    root = tmp_path_factory.mktemp("classes")
    generator = np.random.default_rng(0)
    rows = ["file,index"]
    for number, name in enumerate(("a", "b", "c")):
        (root / "images" / name).mkdir(parents=True)
        for copy in range(2):
            pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
            cv2.imwrite(str(root / "images" / name / f"{copy}.png"), pixels)
            rows.append(f"{name}/{copy}.png,{number}")
    (root / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    torch.manual_seed(0)
    torch.save(timm.create_model(NAME, num_classes=4).state_dict(), root / "weights.pth")
    return root


def test_labelled_images(files: Path) -> None:
    """Folders and CSV name the same images and classes."""
    by_folder = labelled_images(files / "images")
    assert [number for _, number in by_folder] == [0, 0, 1, 1, 2, 2]
    assert labelled_images(files / "images", files / "labels.csv") == by_folder


def test_stream_values(files: Path) -> None:
    """Each image once; corrupted alike whatever the size of batches."""
    images = labelled_images(files / "images")
    batches = list(stream(images, corruption=None, severity=1, batch_size=4, **READING))
    assert [len(label) for _, label in batches] == [4, 2]
    assert sorted(torch.cat([label for _, label in batches]).tolist()) == [0, 0, 1, 1, 2, 2]
    assert batches[0][0].shape == (4, 3, 32, 32)
    assert -1 <= batches[0][0].min() < batches[0][0].max() <= 1
    noisy = [
        torch.cat([b for b, _ in stream(images, corruption="gaussian_noise", severity=5,
                                        batch_size=size, **READING)])
        for size in (1, 6)
    ]  # fmt: skip
    assert torch.equal(noisy[0], noisy[1])


def test_stream_is_rgb(tmp_path: Path) -> None:
    """A red image has its first channel at 1 and the others at -1, also where it is resized."""
    (tmp_path / "red").mkdir()
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red" / "a.png"), red)
    images = labelled_images(tmp_path)
    ((image, _),) = stream(images, corruption=None, severity=1, batch_size=1, **READING)
    assert image.amin((0, 2, 3)).tolist() == image.amax((0, 2, 3)).tolist() == [1, -1, -1]


def test_main(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line and a record for each corruption and method; without evidence all are unadapted."""
    out = tmp_path / "results.json"
    command = [NAME, "--weights", str(files / "weights.pth"), "--images", str(files / "images")]
    command += ["--methods", "source", "bn", "eata", "--corruptions", "none", "fog"]
    command += ["--batch-size", "3", "--size", "32", "--out", str(out)]
    main(command)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    record = json.loads(out.read_text(encoding="utf-8"))
    assert [row["method"] for row in record["results"]] == ["source", "bn", "eata"] * 2
    assert all(row["images"] == 6 for row in record["results"])
    assert record["results"][2]["report"]["calls"] == 2
    # six images are no evidence yet: the guard serves the unadapted model
    for row in record["results"]:
        source = next(r for r in record["results"] if r["corruption"] == row["corruption"])
        assert row["accuracy"] == source["accuracy"]


def test_corrupted_once(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each image is corrupted once for all methods; after each corruption the file is whole."""
    corrupted: list[str] = []
    corrupt = classifier_stream.corrupt

    def noted(image: np.ndarray, name: str, *arguments: object) -> np.ndarray:
        corrupted.append(name)
        if name == "contrast" and len(corrupted) == 12:
            raise KeyboardInterrupt  # stopped in the second corruption
        return corrupt(image, name, *arguments)

    monkeypatch.setattr(classifier_stream, "corrupt", noted)
    out = tmp_path / "results.json"
    command = [NAME, "--weights", str(files / "weights.pth"), "--images", str(files / "images")]
    command += ["--methods", "source", "bn", "tent", "--batch-size", "4", "--size", "32"]
    command += ["--device", "cpu", "--out", str(out)]
    with pytest.raises(KeyboardInterrupt):
        main([*command, "--corruptions", "fog", "contrast"])
    assert corrupted.count("fog") == 6
    rows = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert [(row["corruption"], row["method"]) for row in rows] == [
        ("fog", "source"), ("fog", "bn"), ("fog", "tent"),
    ]  # fmt: skip
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    assert "fog: 6 of 6 images" in printed.err


def test_side_by_side_equals_alone(files: Path) -> None:
    """Methods that see a batch together do not influence each other."""
    model = load_classifier(NAME, str(files / "weights.pth"))
    images = labelled_images(files / "images")
    settings = {"guard": False, "lr": 0.05}

    def found(*methods: str) -> dict[str, dict[str, Any]]:
        batches = stream(images, corruption="fog", severity=5, batch_size=2, **READING)
        return prequential_accuracy(model, dict.fromkeys(methods, settings), batches)

    both = found("tent", "rpl")
    for method in ("tent", "rpl"):
        assert found(method)[method]["accuracy"] == both[method]["accuracy"]
        assert both[method]["report"]["updates"] == 3


def test_device_errors(files: Path) -> None:
    command = [NAME, "--weights", str(files / "weights.pth"), "--images", str(files / "images")]
    with pytest.raises(ValueError, match="--device gpu is no device: give cpu, cuda"):
        main([*command, "--device", "gpu"])
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="--device cuda: torch sees no CUDA device"):
            main([*command, "--device", "cuda"])


def test_errors(files: Path, tmp_path: Path) -> None:
    """Folder, classes, columns, network: each is told."""
    with pytest.raises(FileNotFoundError, match="There is no folder of images"):
        labelled_images(tmp_path / "absent")
    with pytest.raises(ValueError, match="has no folder a class with images"):
        labelled_images(tmp_path)
    (tmp_path / "labels.csv").write_text("name,class\na,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no rows with the columns file and index"):
        labelled_images(tmp_path, tmp_path / "labels.csv")
    with pytest.raises(ValueError, match="has no network 'test_resne'"):
        load_classifier("test_resne", str(files / "weights.pth"))


def test_registry() -> None:
    """The methods are in the registry of adapters under their names."""
    assert set(METHODS) <= set(ADAPTERS.module_dict)
    assert ADAPTERS.get("rpl") is METHODS["rpl"]
