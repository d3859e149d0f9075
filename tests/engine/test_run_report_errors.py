"""What a report says when networks or images cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uda.engine.run_report.assessment import assess
from uda.engine.run_report.gather import Wishes, gather
from uda.engine.run_report.inference import assess_run, checkpoints_of, image_set, run_config
from uda.engine.run_report.reading import read_run

from .report_runs import write_run


class Wrong:
    """Raises what is no fault of a user."""

    def __init__(self, *_: object, **__: object) -> None:
        raise KeyError("method")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path, "run")


def test_no_target_images_at_all(tmp_path: Path) -> None:
    """Source-only without validation data, and nothing beside it to take images from."""
    folder = write_run(tmp_path, "source", source_only=True, labels=False)
    (told,) = gather([folder], Wishes(), say=lambda text: None).problems
    assert told == f"{folder}: its config names no target images to look at."


def test_an_empty_set_and_other_classes(run: Path) -> None:
    """Both numbers, and which network."""
    read = read_run(run)
    config = run_config(read)
    images = image_set(config)
    assert images is not None
    with pytest.raises(ValueError, match="There is no image in validation images"):
        assess(None, images._replace(images=[]))  # type: ignore[arg-type]
    more = images._replace(classes=[*images.classes, "sky"])
    with pytest.raises(ValueError, match="the student tells 3 classes apart, the images have 4"):
        assess_run(read, config, more, say=lambda text: None)


def test_a_folder_that_cannot_be_written(run: Path) -> None:
    """The report goes on and says that the next one will predict again."""
    (run / "report").write_text("in the way")
    told: list[str] = []
    gathered = gather([run], Wishes(images=1), say=told.append)
    assert set(gathered.assessments[run]) == {"student", "teacher"}
    assert sum("The predictions cannot be kept for the next report" in line for line in told) == 2


def test_the_newer_checkpoint_counts(run: Path) -> None:
    """A full checkpoint after the deploy ones is taken; damaged ones are not."""
    read = read_run(run)
    assert checkpoints_of(read)["teacher"] == run / "deploy/teacher.pth"
    full = run / "iter_40.pth"
    full.write_bytes(b"damaged")
    assert checkpoints_of(read)["student"] == run / "deploy/student.pth"
    for file in (run / "deploy").glob("*.pth"):
        file.unlink()
    with pytest.raises(ValueError, match="damaged"):
        checkpoints_of(read)
    full.unlink()
    assert checkpoints_of(read) == {}


def test_faults_of_the_program_are_not_hidden(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A KeyError is no sentence for a user: it is raised."""
    monkeypatch.setattr("uda.engine.run_report.gather.assess_run", Wrong)
    with pytest.raises(KeyError, match="method"):
        gather([run], Wishes(), say=lambda text: None)


def test_numbers_that_are_not_finite_leave_gaps(run: Path) -> None:
    """A loss that became NaN: the page is made, and no NaN stands in a chart."""
    from uda.engine.run_report.page import report_page
    from uda.reports.page import render

    place = next(run.glob("*/vis_data/scalars.json"))
    place.write_text(place.read_text().replace('"loss": 0.075', '"loss": NaN'))
    other = write_run(run.parent, "other", seed=1)
    assert "NaN" in place.read_text()
    page = report_page(gather([run, other], Wishes(inference=False), say=lambda text: None))
    text = render(page).lower()
    assert "points" in text
    assert ">nan<" not in text
    assert "nan," not in text
    assert ",nan" not in text


def test_a_record_without_config(run: Path) -> None:
    """As good as none: settings come from the config file."""
    record = json.loads((run / "run.json").read_text())
    del record["config"]
    (run / "run.json").write_text(json.dumps(record))
    read = read_run(run)
    assert read.record is None
    assert read.method["type"] == "SelfTraining"
    (told,) = read.problems
    assert told.startswith("The record run.json is damaged: it does not say which config was used.")
