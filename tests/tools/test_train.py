"""The command line, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from uda.data.toycity import write_toycity
from uda.runs import read_record

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def toycity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight source, four target and two validation images of 128x96."""
    root = tmp_path_factory.mktemp("data") / "toycity"
    return write_toycity(root, num_source=8, num_target=4, num_val=2, size=(96, 128), workers=1)


def data_options(toycity: Path) -> list[str]:
    """The published config on ToyCity's folders, with crops of 64x64 and no pretrained weights."""
    train, val = "train_dataloader.dataset", "val_dataloader.dataset"
    return [
        f"{train}.source.data_root={toycity}/gta5",
        f"{train}.target.data_root={toycity}/cityscapes",
        f"{val}.data_root={toycity}/cityscapes",
        f"{train}.source.pipeline.2.scale=(128,96)",
        f"{train}.source.pipeline.3.crop_size=(64,64)",
        f"{train}.target.pipeline.1.scale=(128,96)",
        f"{train}.target.pipeline.2.crop_size=(64,64)",
        f"{train}.sampling.min_pixels=auto",
        f"{val}.pipeline.1.scale=(128,96)",
        "model.data_preprocessor.size=(64,64)",
        "model.network.backbone.weights=None",
        "model.method.selector.ignore_rows=(2,15)",
        "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False",
        "val_dataloader.num_workers=0",
        "val_dataloader.persistent_workers=False",
        "train_cfg.max_iters=2",
        "train_cfg.val_interval=2",
        "default_hooks.logger.interval=1",
    ]


def test_published_gta_config_trains_on_its_folder_layout(toycity: Path, tmp_path: Path) -> None:
    config = "configs/daformer/gta2cityscapes_daformer_mitb5.py"
    work = tmp_path / "run"
    done = run(
        *("tools/train.py", config, "--deterministic", "--work-dir", str(work)),
        *("--cfg-options", *data_options(toycity)),
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "source/feature_distance" in done.stdout + done.stderr
    assert "teacher/mIoU" in done.stdout + done.stderr
    assert {p.name for p in (work / "deploy").iterdir()} == {
        "student.pth",
        "teacher.pth",
        "config.py",
    }
    record = read_record(work)
    assert record["sessions"][0]["command"][:2] == ["tools/train.py", config]
    assert record["sessions"][0]["outcome"] == "completed"
    assert record["data"]["source"]["statistics"]["sha256"]
    assert record["determinism"]["algorithms"]


def test_unknown_option_is_one_sentence(tmp_path: Path) -> None:
    done = run(
        "tools/train.py",
        "configs/source_only/toycity_source_only.py",
        "--work-dir",
        str(tmp_path),
        "--cfg-options",
        "model.metod.type=SourceOnly",
    )
    assert done.returncode == 1
    assert "DomainAdaptation has no argument 'metod'. Did you mean 'method'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_config_names_the_full_path(tmp_path: Path) -> None:
    done = run("tools/train.py", str(tmp_path / "none.py"))
    assert done.returncode == 1
    assert f"There is no config {tmp_path / 'none.py'}." in done.stderr


def test_work_dir_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.touch()
    config = "configs/source_only/toycity_source_only.py"
    done = run("tools/train.py", config, "--work-dir", str(file))
    assert done.returncode == 1
    assert str(file) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
