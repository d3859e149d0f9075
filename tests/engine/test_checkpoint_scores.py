"""All kept checkpoints of a run, scored and ranked by the command."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from uda.commands.score_checkpoints import main
from uda.engine.checkpoint_choice import checkpoint_table, choice_table, choose, labels, to_json
from uda.engine.checkpoint_scores import (
    CheckpointScores,
    config_of_run,
    images_to_score,
    iteration_of,
    kept_checkpoints,
    score_checkpoint,
)
from uda.engine.evaluate import evaluate, evaluation_dataset, load_network
from uda.engine.train import load_config
from uda.evaluation import SegmentationMetric

from .test_label_free_validation import logged
from .tiny_run import make_runner, write_config


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six iterations, checkpoints after three and six."""
    folder = tmp_path_factory.mktemp("scored")
    make_runner(write_config(folder), folder / "run").train()
    return folder / "run"


def test_score_checkpoint_is_that_of_validation(run: Path) -> None:
    """The scores and mIoU of both checkpoints are what the run logged after three and six."""
    config = load_config(config_of_run(run))
    dataset = images_to_score(config, labelled=True)
    for checkpoint, line in zip(kept_checkpoints(run), logged(run), strict=True):
        found = score_checkpoint(config, checkpoint, dataset, labelled=True, workers=0)
        assert found.iteration == line["step"]
        wanted = {name: line[name] for name in found.scores}
        assert found.scores == pytest.approx(wanted, abs=1e-4)
        assert found.miou["teacher"] == pytest.approx(line["teacher/mIoU"], abs=0.01)
        network = load_network(config, checkpoint, "student")
        alone = evaluate(
            network, evaluation_dataset(config), metric=SegmentationMetric(), workers=0
        )
        assert found.miou["student"] == alone.metrics["mIoU"]


def test_command_without_label_files(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Label files are gone: tables of both checkpoints with ranks, and the file."""
    shutil.copytree(run.parent / "data", tmp_path / "data")
    for folder in (tmp_path / "data").glob("*/labels"):
        shutil.rmtree(folder)
    root = f"val_dataloader.dataset.data_root={tmp_path}/data/val"
    out = tmp_path / "scores.json"
    assert main([str(run), "--workers", "0", "--json", str(out), "--cfg-options", root]) == 0
    printed = capsys.readouterr().out
    for text in (
        "iter_3.pth",
        "iter_6.pth",
        "entropy",
        "agreement_mIoU",
        "what each score chooses",
    ):
        assert text in printed
    assert "Spearman" not in printed
    content = json.loads(out.read_text())
    assert [one["iteration"] for one in content["checkpoints"]] == [3, 6]
    assert content["choices"]["entropy"]["spearman"] is None
    assert content["choices"]["entropy"]["checkpoint"].endswith(".pth")


def test_command_with_labels(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Correlations and regret come with --miou; the teacher is ranked by its own scores."""
    arguments = [str(run), "--workers", "0", "--miou", "--network", "teacher", "--json", "-"]
    assert main(arguments) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["network"] == "teacher"
    true = [one["mIoU"]["teacher"] for one in content["checkpoints"]]
    for choice in content["choices"].values():
        assert choice["regret"] == pytest.approx(max(true) - true[choice["chosen"]])
    assert set(content["choices"]) >= {"entropy", "agreement"}


def test_images_to_score_values(run: Path, tmp_path: Path) -> None:
    """Without a validation set: the target training images. A folder, and a limit."""
    config = load_config(config_of_run(run))
    assert len(images_to_score(config)) == 2
    assert len(images_to_score(config, limit=1)) == 1
    folder = images_to_score(config, folder=run.parent / "data/source/images")
    assert len(folder) == 4
    picked = images_to_score(config, folder=run.parent / "data/source/images", limit=2)
    assert [Path(picked[i]["data_samples"].img_path).name for i in (0, 1)] == ["0.png", "3.png"]
    config.val_dataloader = None
    bare = images_to_score(config)
    assert len(bare) == 4
    assert "gt_sem_seg" not in bare[0]["data_samples"]


def test_kept_checkpoints_values(tmp_path: Path) -> None:
    """By iteration; a best one only where nothing else is kept of its iteration."""
    names = ["iter_20.pth", "iter_100.pth", "best_student_entropy_iter_20.pth",
             "best_student_entropy_iter_60.pth"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    found = [path.name for path in kept_checkpoints(tmp_path)]
    assert found == ["iter_20.pth", "best_student_entropy_iter_60.pth", "iter_100.pth"]
    assert kept_checkpoints(tmp_path / "iter_20.pth") == [tmp_path / "iter_20.pth"]
    assert iteration_of("student.pth") == 0


def test_errors(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to score, no config, several, labels where there are none, and wrong options."""
    cases: list[tuple[list[Any], str]] = [
        ([tmp_path / "gone"], "does not exist; give the folder of a run, or a checkpoint"),
        ([tmp_path], "holds no checkpoint (iter_N.pth); give the folder of a run"),
        ([run, "--images", tmp_path, "--miou"], "true mIoU needs labels, which only the"),
    ]
    for arguments, told in cases:
        assert main([str(argument) for argument in arguments]) == 1
        assert told in capsys.readouterr().err
    (tmp_path / "iter_1.pth").touch()
    assert main([str(tmp_path)]) == 1
    assert "has no config of a run (*.py); name one by --config" in capsys.readouterr().err
    for name in ("a.py", "b.py"):
        (tmp_path / name).touch()
    assert main([str(tmp_path)]) == 1
    assert "has several configs (a.py, b.py); name one" in capsys.readouterr().err
    for wrong in (["--limit", "0"], ["--on", "a", "--images", "b"]):
        with pytest.raises(SystemExit):
            main([str(run), *wrong])


def result(number: int, folder: str = "run", **scores: float) -> CheckpointScores:
    """A checkpoint with some scores of its student."""
    named = {f"student/{name}": value for name, value in scores.items()}
    return CheckpointScores(Path(folder, f"iter_{number}.pth"), number, named, {"student": number})


def test_choose_values() -> None:
    """Entropy chooses the lower, information the higher; what no checkpoint has is left out."""
    results = [result(1, entropy=0.1, information=0.5), result(2, entropy=0.2, information=0.9)]
    choices = choose(results, "student")
    assert list(choices) == ["entropy", "information"]
    assert [choices[name].chosen for name in choices] == [0, 1]
    assert [choices[name].regret for name in choices] == [1, 0]
    mixed = [result(1, entropy=0.1, agreement=90.0), result(2, entropy=0.2)]
    assert list(choose(mixed, "student")) == ["entropy"]
    with pytest.raises(ValueError, match=r"iter_1.pth has no teacher to rank; it has: student"):
        choose(results, "teacher")


def test_tables_of_several_runs() -> None:
    """Checkpoints carry the run's name, and there is no last one."""
    from rich.console import Console

    for folders, last in ((("a", "b"), False), (("a", "a"), True)):
        results = [result(n, folder, entropy=n) for n, folder in enumerate(folders)]
        choices = choose(results, "student")
        written = io.StringIO()
        console = Console(width=200, file=written)
        console.print(checkpoint_table(results, choices, "student"))
        console.print(choice_table(results, choices, "student"))
        text = written.getvalue()
        assert ("b/iter_1.pth" in text) is not last
        assert ("last checkpoint" in text) is last
        assert "any checkpoint" in text


def test_labels_values() -> None:
    """The file's name, with folders where several runs are there, as many as are needed."""
    cases = [
        (["run/iter_1.pth", "run/iter_2.pth"], ["iter_1.pth", "iter_2.pth"]),
        (["a/iter_1.pth", "b/iter_2.pth"], ["a/iter_1.pth", "b/iter_2.pth"]),
        (["a/x/iter_1.pth", "b/x/iter_1.pth"], ["a/x/iter_1.pth", "b/x/iter_1.pth"]),
        (["iter_1.pth", "iter_1.pth"], ["iter_1.pth", "iter_1.pth"]),
    ]
    for paths, wanted in cases:
        found = labels([CheckpointScores(Path(path), 1, {}, {}) for path in paths])
        assert found == wanted


def test_json_has_no_nan() -> None:
    """A score that is no number is null, and its checkpoint is the last to be chosen."""
    results = [result(1, entropy=float("nan")), result(2, entropy=0.5)]
    content = json.loads(to_json(results, choose(results, "student"), network="student", images=""))
    assert content["checkpoints"][0]["scores"] == {"student/entropy": None}
    assert content["choices"]["entropy"]["chosen"] == 1


def test_images_of_other_sizes(run: Path, tmp_path: Path) -> None:
    """Images of any size in one folder."""
    for name, size in (("a.png", (64, 64)), ("b.png", (64, 96))):
        image = torch.randint(0, 255, (*size, 3), dtype=torch.uint8).numpy()
        assert cv2.imwrite(str(tmp_path / name), image)
    config = load_config(config_of_run(run))
    dataset = images_to_score(config, folder=tmp_path)
    found = score_checkpoint(config, kept_checkpoints(run)[0], dataset, workers=0)
    assert found.miou == {}
    assert 0 < found.scores["student/entropy"] < 1.1
