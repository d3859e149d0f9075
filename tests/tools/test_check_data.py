"""The command that checks data: what it prints and writes, and its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from tests.bad_input.files import again, cut, rename
from tests.engine.tiny_run import (
    PROJECT,
    data_config,
    model_config,
    pseudo_labelled,
    write_config,
)
from uda.commands.check_data import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config without a fault, and its data."""
    return write_config(tmp_path)


def run(config: Path, *options: str) -> int:
    """Check in this process: with so few files no other is started."""
    return main([str(config), "--workers", "1", *options])


def test_clean_data(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was looked at, and that nothing was found; nothing is written."""
    before = sorted(config.parent.rglob("*"))
    assert run(config) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "source: 4 images and 4 labels, 64x64 pixels",
        "target: 4 images without labels, 64x64 pixels",
        "validation: 2 images and 2 labels, 64x64 pixels",
        "0 errors, 0 warnings",
    ]
    assert printed.err == ""
    assert sorted(config.parent.rglob("*")) == before


def test_warnings_are_no_failure(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A grey image works: it is told, and the status stays 0."""
    again(config.parent / "data/target/images/2.png", "L")
    assert run(config) == 0
    printed = capsys.readouterr().out
    assert "0 errors, 1 warning" in printed
    assert "grey images, which become three equal channels" in " ".join(printed.split())


def test_errors_and_report(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All files are checked; the table has the first, the report all."""
    images = config.parent / "data/source/images"
    for number in (0, 2):
        cut(images / f"{number}.png", 500)
    out = tmp_path / "reports/report.json"
    assert run(config, "--out", str(out)) == 1
    assert f"report: {out}" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert (report["version"], report["errors"], report["warnings"]) == (1, 1, 0)
    assert report["findings"] == [
        {
            "severity": "error",
            "kind": "image damaged",
            "dataset": "source",
            "text": "images that are cut off, or no images",
            "advice": "fetch or convert them again, or remove them",
            "files": [str(images / "0.png"), str(images / "2.png")],
        }
    ]
    source = report["datasets"][0]
    assert (source["dataset"], source["images"], source["labels"]) == ("source", 4, 4)
    assert source["sizes"] == {"64x64": 2}
    assert list(source["class_pixels"]) == ["ground", "wall", "pole"]
    assert sum(source["class_pixels"].values()) == 4 * 64 * 64


def test_evaluation_sets(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is not there is a warning, a damaged one an error, an equal one read once."""
    data = config.parent / "data"
    sets = {
        "same": {},
        "absent": {"data_root": str(data / "night")},
        "bare": {"label_dir": None},
        "other": {"data_root": str(data / "source")},
    }
    with config.open("a") as file:
        file.write(f"evaluation_sets = {sets!r}\n")
    assert run(config) == 0
    printed = capsys.readouterr().out
    assert "validation, same: 2 images and 2 labels" in printed
    assert "bare: 2 images without labels" in printed
    assert "absent: no images" in printed
    assert "0 errors, 1 warning" in printed
    assert "nothing, unless you mean to score this set by tools/test.py" in " ".join(
        printed.replace("│", "").split()
    )
    cut(data / "source/labels/1.png", 0)
    assert run(config) == 1
    assert "2 errors, 1 warning" in capsys.readouterr().out


def test_limit(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part is read, spread over the set; what only all labels tell is not said."""
    cut(config.parent / "data/source/images/2.png", 500)
    sampling = "train_dataloader.dataset.sampling.min_pixels=4000"
    assert run(config, "--limit", "2", "--cfg-options", sampling) == 1  # 0.png and 2.png
    printed = capsys.readouterr().out
    assert "source: 4 images and 4 labels, 64x64 pixels; 2 read" in printed
    assert "validation: 2 images and 2 labels, 64x64 pixels\n" in printed
    assert "At most 2 images of each set were read" in printed
    assert "1 error, 0 warnings" in printed
    assert run(config, "--limit", "1", "--cfg-options", sampling) == 0
    assert run(config, "--cfg-options", sampling) == 1
    assert "rare class sampling cannot draw" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--limit", "0"), "limit must be at least 1, got 0"),
        (("--workers", "0"), "workers must be at least 1, got 0"),
        (("--cfg-options", "train_dataloader.batch_size=0"), "batch_size=0: wanted a whole number"),
        (
            ("--cfg-options", "train_dataloader.dataset.source.unmapped=drop"),
            "source.unmapped='drop': wanted 'error' or 'ignore'.",
        ),
        (
            ("--cfg-options", "train_dataloader.dataset.source.label_map.7=9"),
            "the config of the data set 'source' is wrong: label_map sends raw id 7 to train id 9",
        ),
        (
            ("--cfg-options", "train_dataloader.dataset.sampling.temperature=0"),
            "rare class sampling: temperature must be above 0, got 0",
        ),
        (("--cfg-options", "train_dataloader=None"), "has no train_dataloader.dataset.source"),
    ],
)
def test_unusable_configs(
    config: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    """Exit status 2 and one sentence, whatever is wrong with the config."""
    if "label_map" in options[1]:
        config.write_text(
            config.read_text() + "train_dataloader['dataset']['source']['label_map'] = {}\n"
        )
    assert run(config, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_interrupt(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C is no traceback."""

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uda.data.check.run.check_sets", stopped)
    assert run(config) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_config_that_is_no_python(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line of the fault."""
    config.write_text("model = (")
    assert run(config) == 2
    assert capsys.readouterr().err == (
        f"error: config {config}, line 1 cannot be read: SyntaxError: '(' was never closed\n"
    )


def test_as_a_user_runs_it(config: Path) -> None:
    """Two processes, more files than one does alone, and a name that is not UTF-8."""
    images = config.parent / "data/target/images"
    for number in range(10, 24):
        (images / f"{number}.png").write_bytes((images / "1.png").read_bytes())
    name = os.fsdecode(b"caf\xe9.png")
    rename(config.parent / "data/target", "2.png", name)
    cut(images / name, 300)
    done = subprocess.run(
        [sys.executable, "tools/check_data.py", str(config), "--workers", "2"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "target: 18 images without labels" in done.stdout
    assert "caf\\udce9.png" in done.stdout
    assert "1 error, 0 warnings" in done.stdout


def test_target_alone(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config of rounds has no source: its target images are checked, and no label."""
    root = config.parent / "data"
    target = data_config(root, 0)["train_dataloader"]["dataset"]["target"]
    dataset = {"_delete_": True, **pseudo_labelled(target, None)}
    alone = config.with_name("alone.py")
    alone.write_text(f"_base_ = [{str(config)!r}]\ntrain_dataloader = dict(dataset={dataset!r})\n")
    assert run(alone) == 0
    assert capsys.readouterr().out.splitlines() == [
        "target: 4 images without labels, 64x64 pixels",
        "validation: 2 images and 2 labels, 64x64 pixels",
        "0 errors, 0 warnings",
    ]


@pytest.mark.parametrize("name", ["daformer", "source_only"])
@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (2048, 1024)])
def test_template_for_two_folders_is_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, size: tuple[int, int]
) -> None:
    """With its own sizes, images of the usual shapes bring no finding."""
    labels = np.arange(7, dtype=np.uint8).repeat(size[1] // 7 + 1)[: size[1], None]
    pictures = {
        "images": np.zeros((size[1], size[0], 3), np.uint8),
        "labels": np.broadcast_to(labels, (size[1], size[0])),
    }
    for kind, pixels in pictures.items():
        (tmp_path / kind).mkdir()
        for number in range(2):
            Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / kind / f"{number}.png")
    place = "train_dataloader.dataset"
    options = [
        f"{place}.source.data_root={tmp_path}",
        f"{place}.source.label_map=None",
        f"{place}.target.data_root={tmp_path / 'images'}",
    ]
    config = PROJECT / f"configs/{name}/two_folders_{name}.py"
    assert run(config, "--cfg-options", *options[: 3 if name == "daformer" else 2]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


def start_of(folder: Path, *, classes: int = 3) -> Path:
    """A checkpoint of the tiny model."""
    model = model_config()
    model["network"]["decode_head"]["num_classes"] = classes
    init_default_scope("mmseg")
    file = folder / f"classes_{classes}.pth"
    built: Any = MODELS.build(model)
    built.init_weights()  # as in a run: now the terms have their frozen encoders
    torch.save({"state_dict": built.state_dict()}, file)
    return file


@pytest.mark.parametrize("place", ["load_from", "model.start.checkpoint"])
def test_weights_a_run_starts_from(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """Missing, damaged, of other classes: in the table as in training; one that fits: nothing."""
    fits, other = start_of(tmp_path), start_of(tmp_path, classes=5)
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(fits.read_bytes()[:2000])
    if place != "load_from":
        config.write_text(config.read_text() + "model['start'] = dict(checkpoint='')\n")
    assert run(config, "--cfg-options", f"{place}={fits}") == 0
    capsys.readouterr()
    sentences = {
        tmp_path / "gone.pth": f"{tmp_path / 'gone.pth'}.",
        damaged: f"{damaged} cannot be read as one",
        other: "(a network of 5 classes in the file, of 3 here)",
    }
    for file, sentence in sentences.items():
        out = tmp_path / "report.json"
        assert run(config, "--cfg-options", f"{place}={file}", "--out", str(out)) == 1
        assert "1 error, 0 warnings" in capsys.readouterr().out
        (finding,) = json.loads(out.read_text())["findings"]
        assert (finding["dataset"], finding["kind"]) == ("model", "start weights")
        assert sentence in finding["text"]


def test_batch_of_one_with_batch_norm(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A head that pools to one pixel: with two images it works, with one it is an error."""
    text = config.read_text()
    head = {
        "type": "PSPHead",
        "in_channels": 16,
        "in_index": 3,
        "channels": 8,
        "pool_scales": (1, 2),
        "num_classes": 3,
        "norm_cfg": {"type": "BN"},
    }
    config.write_text(text + f"model['network']['decode_head'] = {head!r}\n")
    assert run(config) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    out = tmp_path / "report.json"
    for options in (["train_dataloader.batch_size=1"], ["model.micro_batches=2"]):
        assert run(config, "--out", str(out), "--cfg-options", *options) == 1
        (finding,) = json.loads(out.read_text())["findings"]
        assert (finding["dataset"], finding["kind"]) == ("model", "lone value")
        assert "A BatchNorm layer got a single value of each channel" in finding["text"]
        assert "Set train_dataloader.batch_size to at least 2" in finding["text"]


def test_model_that_cannot_be_built(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a constructor refuses is a row of the table."""
    assert run(config, "--cfg-options", "model.method.teacher.decay=2.0") == 1
    printed = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "the model cannot be built: decay" in printed
