"""Reports of runs: what is read, compared and shown, of whole, unfinished and damaged runs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from uda.engine.run_report.assessment import spread_indices
from uda.engine.run_report.assessment_file import (
    assessment_file,
    read_assessment,
    write_assessment,
)
from uda.engine.run_report.gather import Wishes, gather
from uda.engine.run_report.groups import grouped
from uda.engine.run_report.inference import assess_run, image_set, run_config
from uda.engine.run_report.page import report_page
from uda.engine.run_report.picture_parts import best_and_worst
from uda.engine.run_report.reading import read_run
from uda.engine.run_report.scalars import kind_of, thinned
from uda.evaluation.confusion import iou_from_matrix
from uda.reports.page import render

from .report_runs import LOG, copy_run, three_runs, write_run
from .tiny_run import CLASSES

DRY = Wishes(inference=False)


def silent(text: str) -> None:
    """Says nothing."""


def page_of(folders: list[Path], wishes: Wishes = DRY) -> str:
    """The page as text."""
    return render(report_page(gather(folders, wishes, say=silent)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return three_runs(tmp_path_factory.mktemp("runs"))


def test_groups_and_gain_values(runs: dict[str, Path]) -> None:
    """Seeds 50 and 54 are a group: mean 52, deviation 2.83; source-only has 30: the gain is 22.

    The class in the middle has the run's score, the others 10 more and less.
    """
    gathered = gather(list(runs.values()), DRY, say=silent)
    (group,) = gathered.groups
    assert group.label == "daformer"
    assert [run.seed for run in group.runs] == [0, 1]
    assert gathered.source_only is not None
    assert gathered.source_only.first.folder == runs["source"]
    labels = [subject.label for subject in gathered.subjects]
    assert labels == ["source-only", "daformer, student", "daformer, teacher"]
    student = gathered.subjects[1]
    score = gathered.miou(student)
    assert score is not None
    assert score.mean == 52
    assert score.deviation == pytest.approx(2.8284, abs=1e-4)
    assert gathered.gain(student) == 22
    assert gathered.gain(gathered.subjects[0]) is None
    found = gathered.class_iou(student, "pole")
    assert found is not None
    assert found.mean == 62


def test_the_page_has_what_was_measured(runs: dict[str, Path]) -> None:
    """Scores by seed, classes, curves by term, health by class, cost, settings."""
    text = page_of(list(runs.values()))
    for wanted in (
        "52.00 ± 2.83", "22.00", "seed 1", "+22.0", "Losses of daformer by term", "mixed/ce",
        "Learning rate", "pseudo/kept of each class", "2 min 05 s", "tools/train.py configs/a.py",
        "model.method.teacher.decay", "settings differ between groups", "Networks were not run",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert "/somewhere" not in text
    assert "Confusion" not in text


def test_networks_are_assessed_and_kept(runs: dict[str, Path], tmp_path: Path) -> None:
    """The matrix is that of a prediction by hand; a second time nothing is predicted."""
    folder = copy_run(runs["first"], tmp_path.name)
    run = read_run(folder)
    config = run_config(run)
    images = image_set(config)
    assert images is not None
    assert images.labelled
    told: list[str] = []
    found = assess_run(run, config, images, say=told.append)
    assert set(found) == {"student", "teacher"}
    student = found["student"]
    assert student.matrices.shape == (2, 3, 3)
    assert student.matrices.sum() == 2 * 64 * 64 == student.bins[0].sum()
    assert student.pixels.tolist() == student.matrices.sum((0, 1)).tolist()
    right = sum(
        int((p == t).sum()) for p, t in zip(student.predictions, student.truths, strict=True)
    )
    assert right == np.trace(student.matrices.sum(0)) == student.bins[2].sum()
    assert 0 < student.entropy.mean() <= 1
    assert any("student, image 2 of 2" in line for line in told)
    told.clear()
    again = assess_run(run, config, images, say=told.append)
    assert np.array_equal(again["student"].matrices, student.matrices)
    assert len(told) == 2
    assert all(".npz" in line for line in told)
    told.clear()
    few = assess_run(run, config, images, limit=1, say=told.append)
    assert len(few["student"].files) == 1
    assert any("image 1 of 1" in line for line in told)


def test_the_whole_page(runs: dict[str, Path]) -> None:
    """With networks: confusion, calibration, images with truth and source-only beside."""
    text = page_of(list(runs.values()), Wishes())
    for wanted in (
        "Confusion of daformer, student", "Calibration", "ECE (%)", "Best 1: ", "Worst 1: ",
        "truth", "source-only, IoU", "daformer, student, IoU", "calibration error",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert "Problem:" not in text
    assert len(re.findall(r'src="data:image/jpeg', text)) == 2
    assert "http" not in text.replace("http://www.w3.org", "")


def test_without_labels_nothing_is_measured(tmp_path: Path) -> None:
    """Two folders: predictions and facts about them, and a sentence that nothing was measured."""
    adapted = write_run(tmp_path, "adapted", labels=False)
    source = write_run(tmp_path, "source", source_only=True, labels=False)
    gathered = gather([adapted], Wishes(source_only=[source]), say=silent)
    assert list(gathered.problems) == []
    assert gathered.images_title == "target training images"
    assert not gathered.measured
    text = render(report_page(gathered))
    assert "Nothing was measured on the target: there are no target labels" in text
    for wanted in ("Predictions without labels", "as source-only (%)", "by entropy", "Best 1"):
        assert wanted in text, wanted
    for absent in ("Calibration", "truth<", "IoU of each class"):
        assert absent not in text, absent


@pytest.mark.parametrize(
    ("outcome", "reason", "sentence"),
    [
        ("stopped", "SIGTERM", "was stopped at iteration 60 of 60: SIGTERM; --resume goes on"),
        ("failed", "ValueError: no.", "The run failed at iteration 60 of 60: ValueError: no."),
        ("running", None, "has not ended, or was killed: the last that is known of it is at"),
    ],
)
def test_unfinished_runs(tmp_path: Path, outcome: str, reason: str | None, sentence: str) -> None:
    """Each says in one sentence where it stands; networks that are not there are one more."""
    run = write_run(tmp_path, "run", outcome=outcome, reason=reason, networks=False)
    gathered = gather([run], Wishes(), say=silent)
    first, second = gathered.problems
    assert sentence in first
    assert "its networks could not be run: there is no checkpoint yet" in second
    assert "There is no source-only run to compare with" in render(report_page(gathered))


def test_damaged_runs(runs: dict[str, Path]) -> None:
    """Record, log, config and checkpoint: what is left is shown, with a sentence."""
    record, log, config, weights = (
        copy_run(runs["first"], name) for name in ("record", "log", "config", "weights")
    )
    (record / "run.json").write_text("{")
    with (log / LOG / "vis_data/scalars.json").open("r+") as file:
        file.write("#")
    (config / "city_daformer.py").unlink()
    (weights / "deploy/student.pth").write_bytes(b"nothing")
    for folder, sentence in (
        (record, "is damaged: it is not JSON"),
        (log, "The log is damaged: "),
        (config, "the config that training writes into"),
        (weights, "its networks could not be run: "),
    ):
        gathered = gather([folder], Wishes(images=1), say=silent)
        (told,) = gathered.problems
        assert sentence in told
        assert str(folder) in told
        assert "daformer" in render(report_page(gathered))
        shutil.rmtree(folder)
    assert gathered.miou(gathered.subjects[0]) is not None


def test_a_run_without_record_is_read_by_its_files(runs: dict[str, Path]) -> None:
    """Settings of the config, numbers of all logs."""
    folder = copy_run(runs["first"], "bare")
    (folder / "run.json").unlink()
    run = read_run(folder)
    assert run.method["type"] == "SelfTraining"
    assert run.seed == 0
    assert run.last_scores["student/mIoU"] == 50
    assert run.log.training[10]["time"] == 0.5
    shutil.rmtree(folder)


def test_no_run_at_all(tmp_path: Path) -> None:
    """A folder that is not there, and one that is something else."""
    with pytest.raises(FileNotFoundError, match="There is no run folder .*missing; give a folder"):
        read_run(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="holds no run.json, no config and no log"):
        read_run(tmp_path)


def test_an_unknown_set_is_a_sentence(runs: dict[str, Path]) -> None:
    gathered = gather([runs["first"]], Wishes(on="night"), say=silent)
    assert "has no evaluation set 'night'" in gathered.problems[0]


def test_settings_tell_groups_apart(tmp_path: Path) -> None:
    """Same config file, another threshold: the label says which."""
    one = write_run(tmp_path, "one", networks=False)
    other = write_run(
        tmp_path, "other", networks=False,
        selector={"type": "ConfidenceShare", "threshold": 0.7},
    )  # fmt: skip
    groups = grouped([read_run(one), read_run(other)])
    assert [group.label for group in groups] == [
        "city_daformer (threshold=0.4)", "city_daformer (threshold=0.7)",
    ]  # fmt: skip


def test_assessment_file_is_of_its_key(runs: dict[str, Path], tmp_path: Path) -> None:
    """Of another key, damaged or missing: none; written and read: equal."""
    run = read_run(runs["source"])
    config = run_config(run)
    images = image_set(config)
    assert images is not None
    (found,) = assess_run(run, config, images, say=silent).values()
    place = assessment_file(tmp_path, "student", "dusk")
    assert place.name == "student_dusk.npz"
    assert read_assessment(place, "a") is None
    write_assessment(place, found, "a")
    again = read_assessment(place, "a")
    assert again is not None
    for name in ("matrices", "bins", "pixels", "confidence", "entropy"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    assert all(np.array_equal(a, b) for a, b in zip(again.truths, found.truths, strict=True))
    assert read_assessment(place, "b") is None
    place.write_bytes(place.read_bytes()[:100])
    assert read_assessment(place, "a") is None


def test_kinds_of_logged_names() -> None:
    """Those of the methods and hooks; what a later hook logs is shown somewhere in any case."""
    kinds = {
        "loss": ("loss", "source/ce", "mixed/ce", "source/feature_distance", "target/adversarial",
                 "masked/ce", "primary/mixed/ce", "discriminator/loss", "windows/patch_contrast"),
        "accuracy": ("source/accuracy", "mixed/accuracy"),
        "health": ("mixed/pseudo_weight", "mixed/confidence", "mixed/largest_class",
                   "target/kept_share", "pseudo/agreement", "pseudo/kept/road",
                   "classes/pseudo/road", "collapse_alarm"),
        "rate": ("lr", "base_lr", "lr/backbone"),
        "time": ("time", "data_time", "time/forward"),
        "memory": ("memory", "memory/peak"),
        "other": ("grad_norm", "something/else"),
    }  # fmt: skip
    found = {name: kind_of(name) for names in kinds.values() for name in names}
    assert found == {name: kind for kind, names in kinds.items() for name in names}


def test_thinned_properties() -> None:
    """Never more than the limit; the mean of whole blocks stays."""
    points = [(float(n), float(n)) for n in range(1000)]
    found = thinned(points, 100)
    assert len(found) == 100
    assert sum(value or 0 for _, value in found) / 100 == pytest.approx(499.5)
    assert thinned(points[:5], 100) == points[:5]


def test_best_and_worst_values() -> None:
    """No image is both; images without a score are neither."""
    assert best_and_worst(np.array([0.3, np.nan, 0.1, 0.2, 0.9]), 3) == ([4, 0], [2, 3])
    assert best_and_worst(np.array([0.3]), 3) == ([0], [])
    assert best_and_worst(np.array([np.nan]), 3) == ([], [])
    assert spread_indices(60, 1) == [0]


def test_scores_of_assessments_where_none_were_logged(runs: dict[str, Path]) -> None:
    """A run that was never validated is scored by what was predicted for the report."""
    folder = copy_run(runs["first"], "unscored")
    place = folder / LOG / "vis_data/scalars.json"
    lines = [line for line in place.read_text().splitlines() if "mIoU" not in line]
    place.write_text("\n".join(lines) + "\n")
    assert all("step" in json.loads(line) for line in lines)
    gathered = gather([folder], Wishes(), say=silent)
    (student, _) = gathered.subjects
    wanted = iou_from_matrix(gathered.assessments[folder]["student"].matrix)
    found = [gathered.class_iou(student, name) for name in CLASSES]
    assert [one.mean if one else None for one in found] == pytest.approx((100 * wanted).tolist())
    score = gathered.miou(student)
    assert score is not None
    assert score.mean == pytest.approx(100 * float(wanted.nanmean()))
    assert torch.is_tensor(wanted)
    shutil.rmtree(folder)
