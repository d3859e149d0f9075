"""Configs for two folders: what they say, that they build data sets, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mmseg.registry import DATASETS

from tests.engine.tiny_run import CLASSES, write_data
from uda.commands.own_folders import main, run
from uda.engine import folder_config
from uda.engine.folder_config import TwoFolders, write_configs
from uda.engine.train import load_config


def folders(root: Path, **changes: Any) -> TwoFolders:
    """The tiny run's data as two folders; its labels hold train ids."""
    given = {
        "source_images": root / "source/images",
        "source_labels": root / "source/labels",
        "target_images": root / "target/images",
        "classes": CLASSES,
    }
    return TwoFolders(**{**given, **changes})


def formatted(*configs: Path) -> bool:
    """Whether files below configs/ would pass `make lint`."""
    pytest.importorskip("ruff", reason="needs the extra dev: ruff")
    command = [sys.executable, "-m", "ruff", "format", "--check", "--line-length", "100"]
    return subprocess.run([*command, *map(str, configs)], check=False).returncode == 0


def test_configs_are_whole(tmp_path: Path) -> None:
    """Both are accepted; data sets find images and labels, and the target none of the latter."""
    data = write_data(tmp_path / "data")
    adapt, source_only = write_configs(folders(data, things=["pole"]), tmp_path / "mine")
    loaded = load_config(adapt)
    assert formatted(adapt, source_only)
    assert adapt.read_text().startswith(f"# python tools/train.py {adapt.as_posix()}\n")
    source, target = (
        DATASETS.build(loaded.train_dataloader.dataset[name]) for name in ("source", "target")
    )
    assert len(source) == len(target) == 4
    assert set(source.get_data_info(0)) > {"seg_map_path"}
    assert "seg_map_path" not in target.get_data_info(0)
    assert loaded.model.network.decode_head.num_classes == 3
    assert loaded.model.method.terms[0]["classes"] == [2]
    assert loaded.model.data_preprocessor.size == (240, 320)
    assert loaded.val_dataloader is None
    alone = load_config(source_only)
    assert alone.train_dataloader.dataset.target is None
    assert alone.model.method == {"type": "SourceOnly"}
    assert alone.train_dataloader.dataset.source == loaded.train_dataloader.dataset.source


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers in label files, a validation set, sizes, a second start that changes nothing."""
    data = write_data(tmp_path / "data")
    arguments = [
        "--source-images", data / "source/images", "--source-labels", data / "source/labels",
        "--target-images", data / "target/images", "--val-images", data / "val/images",
        "--val-labels", data / "val/labels", "--classes", "flat=0,1", "pole=2", "--out",
        tmp_path / "mine", "--short-side", 96, "--iterations", 7, "--label-suffix", ".png",
    ]  # fmt: skip
    run([str(argument) for argument in arguments])
    adapt = tmp_path / "mine/adapt.py"
    assert capsys.readouterr().out.split() == [str(adapt), str(tmp_path / "mine/source_only.py")]
    loaded = load_config(adapt)
    source = loaded.train_dataloader.dataset.source
    assert (source.label_map, source.unmapped) == ({0: 0, 1: 0, 2: 1}, "ignore")
    assert loaded.val_dataloader.dataset.label_map == source.label_map
    assert source.pipeline[3].crop_size == (96, 128)
    assert (loaded.train_cfg.max_iters, loaded.model.method.terms) == (7, [])
    assert len(DATASETS.build(loaded.val_dataloader.dataset)) == 2
    before = adapt.read_bytes()
    assert main([str(argument) for argument in arguments]) == 1
    assert "adapt.py is there already; give another --out" in capsys.readouterr().err
    assert adapt.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": ["a"]}, ValueError, "At least two different classes are wanted, got 1"),
        ({"classes": ["a", "a"]}, ValueError, "classes are wanted, got 'a' twice"),
        ({"things": ["car"]}, ValueError, r"things are among .* \(ground, .*\); 'car' is not"),
        ({"numbers": [[1], [1], [2]]}, ValueError, "of one class; 1 was given twice"),
        ({"short_side": 20}, ValueError, "at least 64 pixels .* got 20 and 2000"),
        ({"val_images": Path("a")}, ValueError, "needs images and labels; only one was given"),
        ({"source_images": Path("no")}, FileNotFoundError, "no folder of images .*no"),
        ({"source_labels": Path("no")}, FileNotFoundError, "no folder of labels .*no"),
    ],
)
def test_errors(
    changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """Nothing is written."""
    data = write_data(tmp_path / "data")
    with pytest.raises(error, match=message):
        write_configs(folders(data, **changes), tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_package_without_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installed elsewhere than in the project's folder."""
    monkeypatch.setattr(folder_config.uda, "__file__", str(tmp_path / "site/uda/__init__.py"))
    with pytest.raises(FileNotFoundError, match=r"no .*site.configs: configs are part of the proj"):
        write_configs(folders(write_data(tmp_path / "data")), tmp_path / "mine")


@pytest.mark.parametrize(
    ("classes", "message"),
    [(["a", "=3"], "a class is NAME or"), (["a=x", "b=1"], "such as person=24,25; got 'a=x'"),
     (["a=1", "b"], "give numbers for all classes, or for none")],
)  # fmt: skip
def test_classes_are_refused(
    classes: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit status 2."""
    with pytest.raises(SystemExit, match="2"):
        run(["--source-images", "a", "--source-labels", "b", "--target-images", "c", "--out", "d",
             "--classes", *classes])  # fmt: skip
    assert message in capsys.readouterr().err
