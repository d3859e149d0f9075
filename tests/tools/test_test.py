"""The scoring tool: what it prints, writes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from tests.engine.scoring import Checkpoints, write_checkpoints
from uda.commands.test import run as main
from uda.data.toycity import write_toycity
from uda.evaluation import CITYSCAPES_CLASSES, summarise_runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of a tiny run."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def arguments(files: Checkpoints, checkpoint: Path, *more: object) -> list[str]:
    """A command line that reads images in this process."""
    return [str(files.config), str(checkpoint), "--workers", "0", *map(str, more)]


def report(path: Path) -> dict[str, dict[str, object]]:
    """A metrics file."""
    return json.loads(path.read_text())


@pytest.mark.parametrize("options", [(), ("--network", "teacher")])
def test_deploy_teacher_is_recorded_as_teacher(
    files: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    """In the printed line, the file and the folder of predictions; all sets get their own."""
    teacher, out, saved = files.deploy / "teacher.pth", tmp_path / "m.json", tmp_path / "saved"
    more = ("--on", "val", "--out", out, "--save-predictions", saved, "--seed", "3", *options)
    main(arguments(files, teacher, *more))
    printed = capsys.readouterr().out
    assert f"teacher of {teacher} on val" in printed
    found = report(out)
    assert list(found["networks"]) == ["teacher"]
    assert found["context"]["network"] == "teacher"
    assert found["metrics"]["teacher/mIoU"] == pytest.approx(
        found["networks"]["teacher"]["mIoU"], abs=0.005
    )
    assert f"mIoU {found['metrics']['teacher/mIoU']:.2f} % over 2 images" in printed
    written = sorted(path.relative_to(saved).as_posix() for path in saved.rglob("*.png"))
    assert written == ["val/teacher/images/0.png", "val/teacher/images/1.png"]
    (row,) = summarise_runs([out])
    assert (row.network, row.dataset, list(row.values)) == ("teacher", "val", [3])


def test_full_checkpoint_student_by_default(files: Checkpoints, tmp_path: Path) -> None:
    """The student without `--network`; the teacher, with other numbers, when asked for."""
    for name, options in (("student", ()), ("teacher", ("--network", "teacher"))):
        out = tmp_path / f"{name}.json"
        main(arguments(files, files.full, "--out", out, *options))
        assert list(report(out)["networks"]) == [name]
    first, second = (report(tmp_path / f"{name}.json") for name in ("student", "teacher"))
    assert first["networks"]["student"]["IoU"] != second["networks"]["teacher"]["IoU"]


def test_several_sets_write_several_files(files: Checkpoints, tmp_path: Path) -> None:
    """The set's name joins the file's."""
    options = "evaluation_sets.again.indices=1"
    main(
        arguments(
            files, files.full, "--on", "val", "again", "--out", tmp_path / "m.json",
            "--cfg-options", options,
        )
    )  # fmt: skip
    images = {p.name: report(p)["context"]["images"] for p in tmp_path.iterdir()}
    assert images == {"m_val.json": 2, "m_again.json": 1}


def test_format_only(
    files: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predictions of a set without labels, and not a word about scores."""
    main(arguments(files, files.full, "--on", "bare", "--format-only", "--save-predictions",
                   tmp_path))  # fmt: skip
    printed = capsys.readouterr().out
    assert f"2 predictions in {tmp_path / 'bare' / 'student'}" in printed
    assert "IoU" not in printed
    assert cv2.imread(str(tmp_path / "bare/student/images/1.png"), -1).shape == (64, 64)


def test_slide_and_augmentation(files: Checkpoints, tmp_path: Path) -> None:
    """One window and one view change nothing; smaller windows do. The file says how it was done."""
    ways = {
        "plain": (),
        "one": ("--slide", "64", "64", "--test-time-augmentation", "1.0"),
        "small": ("--slide", "32", "32", "--stride", "16", "32"),
        "batch": ("--slide", "32", "32", "--stride", "16", "32", "--window-batch", "4"),
    }
    for name, options in ways.items():
        main(arguments(files, files.full, "--out", tmp_path / f"{name}.json", *options))
    found = {name: report(tmp_path / f"{name}.json") for name in ways}
    networks = {name: content["networks"] for name, content in found.items()}
    assert networks["plain"] == networks["one"] != networks["small"]
    assert found["small"]["context"]["slide"] == [32, 32]
    assert found["small"]["context"]["stride"] == [16, 32]
    assert found["one"]["context"]["scales"] == [1.0]


def test_target_statistics_of_a_folder(files: Checkpoints, tmp_path: Path) -> None:
    """Scores change, and the table's row says why."""
    images = files.config.parent / "data" / "target" / "images"
    for name, options in (("plain", ()), ("adapted", ("--target-statistics", images))):
        main(arguments(files, files.full, "--out", tmp_path / f"{name}.json", *options))
    plain, adapted = (report(tmp_path / f"{name}.json") for name in ("plain", "adapted"))
    assert plain["networks"] != adapted["networks"]
    assert adapted["context"]["experiment"] == "config + target statistics"
    assert adapted["context"]["target_statistics"] == str(images)
    assert plain["context"]["target_statistics"] is None
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(arguments(files, files.full, "--target-statistics", tmp_path / "nowhere"))


def test_classes_of_cityscapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """mIoU16 is printed, stands in the file, and goes into tables over seeds."""
    city = write_toycity(tmp_path / "city", num_source=1, num_target=1, num_val=2, workers=1)
    config = tmp_path / "config.py"
    base = ROOT / "configs/source_only/toycity_source_only.py"
    config.write_text(f"_base_ = [{str(base)!r}]\nmodel = dict(network=dict(backbone=dict("
                      f"weights=None)))\n")  # fmt: skip
    checkpoint, out = tmp_path / "student.pth", tmp_path / "m.json"
    write_random_network(config, checkpoint)
    main([str(config), str(checkpoint), "--workers", "0", "--classes", "16", "--out", str(out),
          "--seed", "0", "--cfg-options",
          f"val_dataloader.dataset.data_root={city / 'cityscapes'}"])  # fmt: skip
    (row,) = summarise_runs([out], metrics=("mIoU16",))
    found = report(out)
    assert len(found["subsets"]["16"]) == 16
    assert row.values[0] == found["networks"]["student"]["mIoU16"]
    assert f"mIoU16 {row.values[0]:.2f} % over 2 images" in capsys.readouterr().out
    assert found["classes"] == list(CITYSCAPES_CLASSES)


def write_random_network(config: Path, checkpoint: Path) -> None:
    """Weights as they are drawn, with the same ones each time."""
    from mmseg.registry import MODELS

    from uda.engine.deploy import deploy_config
    from uda.engine.train import load_config

    torch.manual_seed(0)
    torch.save(MODELS.build(deploy_config(load_config(config)).model).state_dict(), checkpoint)


def test_errors(files: Checkpoints) -> None:
    """Each refusal of the tool itself; those of the parts below are tested there."""
    with pytest.raises(ValueError, match="holds the student only, not the teacher"):
        main(arguments(files, files.deploy / "student.pth", "--network", "teacher"))
    with pytest.raises(ValueError, match="no evaluation set 'night'"):
        main(arguments(files, files.full, "--on", "val", "night"))
    with pytest.raises(ValueError, match="leave out --classes .* which has ground, wall, pole"):
        main(arguments(files, files.full, "--classes", "19"))
    with pytest.raises(ValueError, match="bare of .* has no labels"):
        main(arguments(files, files.full, "--on", "bare"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format-only",), "give --save-predictions D"),
        (("--format-only", "--save-predictions", "d", "--out", "m.json"), "leave out --out"),
        (("--stride", "4", "4"), "give their size by --slide H W"),
        (("--window-batch", "2"), "--window-batch goes with --slide"),
    ],
)
def test_usage_errors(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    """Options that contradict each other."""
    with pytest.raises(SystemExit) as stop:
        main(["config.py", "iter_1.pth", *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_error_is_one_sentence(files: Checkpoints, tmp_path: Path) -> None:
    """As a user sees it: no traceback."""
    command = [sys.executable, "tools/test.py", str(files.config), str(tmp_path / "none.pth")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"error: Weights not found: {tmp_path / 'none.pth'}" in done.stderr
    assert "Traceback" not in done.stderr
