"""Everything a page needs, from folders of runs; what cannot be had becomes a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config

from uda.data.joined import settings_of
from uda.engine.failures import explained
from uda.engine.run_report.assessment import Assessment, ImageSet
from uda.engine.run_report.groups import Group, grouped
from uda.engine.run_report.inference import assess_run, image_set, run_config
from uda.engine.run_report.reading import ReportedRun, read_run
from uda.engine.run_report.subjects import Gathered

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """What a report is to have.

    Attributes:
        source_only: Folders of runs to compare with; none takes those whose config says so.
        network: Which network is shown where one has to be chosen.
        on: Name of the evaluation set; None takes the validation set.
        images: How many images at most are predicted; None takes all.
        inference: Whether networks are run at all.
    """

    source_only: Sequence[str | Path] = ()
    network: str = "student"
    on: str | None = None
    images: int | None = None
    inference: bool = True


def gather(folders: Sequence[str | Path], wishes: Wishes, *, say: Say = print) -> Gathered:
    """Runs by method, and what their networks do on the target.

    Args:
        folders: Of runs.
        wishes: What is wanted.
        say: Told what is being done.

    Raises:
        FileNotFoundError: A folder is not there or holds no run.
    """
    asked = {Path(folder).resolve() for folder in wishes.source_only}
    unique = {Path(f).resolve(): f for f in [*wishes.source_only, *folders]}
    runs = [read_run(folder) for folder in unique.values()]
    problems = [f"{run.folder}: {problem}" for run in runs for problem in run.problems]
    if asked:
        base = [run for run in runs if run.folder.resolve() in asked]
    else:
        base = [run for run in runs if run.is_source_only]
    groups = grouped([*base, *(run for run in runs if run not in base)])
    source_groups = [group for group in groups if group.first in base]
    source_only = source_groups[0] if source_groups else None
    if source_only is not None and len(source_groups) == 1:
        source_only = replace(source_only, label="source-only")
        groups = [source_only if group is source_groups[0] else group for group in groups]
    # A second group of source-only runs, of other settings, is compared like any other.
    others = [group for group in groups if group is not source_only]
    found: dict[Path, dict[str, Assessment]] = {}
    images = None
    if wishes.inference:
        found, images = _assessments([*others, *source_groups[:1]], wishes, problems, say)
    classes, palette = _classes(runs, images)
    return Gathered(
        groups=others,
        source_only=source_only,
        classes=classes,
        palette=palette,
        assessments=found,
        images_title=images.title if images else "validation images",
        network=wishes.network,
        problems=problems,
        skipped=not wishes.inference,
    )


def _assessments(
    groups: Sequence[Group], wishes: Wishes, problems: list[str], say: Say
) -> tuple[dict[Path, dict[str, Assessment]], ImageSet | None]:
    """Of every run that can be run; a source-only run without images gets those of the first."""
    found: dict[Path, dict[str, Assessment]] = {}
    shared: ImageSet | None = None
    for run in (run for group in groups for run in group.runs):
        try:
            config = run_config(run)
            images = image_set(config, wishes.on) or shared
            if images is None:
                problems.append(f"{run.folder}: its config names no target images to look at.")
                continue
            shared = shared or images
            found[run.folder] = assess_run(
                run, config, images, on=wishes.on, limit=wishes.images, say=say
            )
        except Exception as error:
            problems.append(f"{run.folder}: its networks could not be run: {_sentence(error)}")
    return found, shared


def _sentence(error: Exception) -> str:
    """What an error says; faults of the program, which have no sentence, are raised again."""
    told = explained(error)
    if told is None:
        raise error
    text = told.removeprefix("error: ").rstrip(".")
    return text + "."


def _classes(
    runs: Sequence[ReportedRun], images: ImageSet | None
) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
    """Classes and colours of the images, or as the configs give them."""
    if images is not None:
        return images.classes, images.palette
    for run in runs:
        config = Config(dict(run.settings))
        pairs = (config.get("train_dataloader") or {}).get("dataset") or {}
        for settings in [(config.get("val_dataloader") or {}).get("dataset"),
                         *settings_of(pairs.get("source"))]:  # fmt: skip
            if settings and settings.get("classes"):
                return list(settings["classes"]), list(settings.get("palette") or [])
    logged = [name for run in runs for name in run.last_scores if name.startswith("student/IoU.")]
    return list(dict.fromkeys(name.removeprefix("student/IoU.") for name in logged)), []
