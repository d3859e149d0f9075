"""The networks of a run on the images of its config: which checkpoints, which images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.registry import DATASETS

from uda.data.joined import settings_of
from uda.engine.checkpoint_files import newest_checkpoint
from uda.engine.evaluate import evaluation_dataset, load_network
from uda.engine.run_report.assessment import Assessment, ImageSet, assess
from uda.engine.run_report.assessment_file import (
    assessment_file,
    read_assessment,
    write_assessment,
)
from uda.engine.run_report.reading import NETWORKS, ReportedRun
from uda.engine.target_statistics import target_images
from uda.engine.train import load_config
from uda.runs.digests import file_digest, files_digest
from uda.runs.values import digest, plain

Say = Callable[[str], None]


def run_config(run: ReportedRun) -> Config:
    """The config of a run as it was used.

    Raises:
        FileNotFoundError: It is not beside the run.
        ValueError: It cannot be read, or this version does not know a key.
    """
    if run.config_file is None:
        raise FileNotFoundError(
            f"the config that training writes into {run.folder} is not there, so that its "
            "networks cannot be built"
        )
    return load_config(run.config_file)


def image_set(config: Config, name: str | None = None) -> ImageSet | None:
    """The images that networks are shown on, with labels where the config has any.

    Args:
        config: Of a run.
        name: Of `evaluation_sets`; None takes the validation set and, where there is none, the
            target training images, whose labels are not read.

    Returns:
        The images, or None if the config has neither.

    Raises:
        ValueError: There is no evaluation set of that name, or images and labels do not fit.
        FileNotFoundError: A folder is not there.
    """
    if config.get("val_dataloader") is None:
        if name is not None:
            evaluation_dataset(config, name)  # says what is missing
        target = config.train_dataloader.dataset.get("target")
        if target is None:
            return None
        return _image_set(target_images(config), settings_of(target)[0], False, "target training")
    whole = evaluation_dataset(config, name, labelled=False)
    settings = dict(config.val_dataloader.dataset)
    settings.update((config.get("evaluation_sets") or {}).get(name, {}) if name else {})
    labelled = settings.get("label_dir", "") is not None
    dataset = evaluation_dataset(config, name) if labelled else whole
    built = DATASETS.build(dataset)
    built.full_init()
    return _image_set(built, settings, labelled, f"evaluation set {name}" if name else "validation")


def _image_set(built: Any, settings: Mapping[str, Any], labelled: bool, title: str) -> ImageSet:
    meta = built.metainfo
    palette = meta.get("palette") or settings.get("palette") or []
    return ImageSet(built, labelled, f"{title} images", list(meta["classes"]), palette)


def checkpoints_of(run: ReportedRun) -> dict[str, Path]:
    """The file of each network: deploy checkpoints, or the newest full one if that is newer.

    Raises:
        ValueError: All checkpoints are damaged.
    """
    deployed = {name: run.folder / "deploy" / f"{name}.pth" for name in NETWORKS}
    found = {name: file for name, file in deployed.items() if file.is_file()}
    try:
        full = newest_checkpoint(run.folder)
    except ValueError:
        if not found:
            raise
        full = None
    age = max((file.stat().st_mtime for file in found.values()), default=0.0)
    if full is not None and full.stat().st_mtime > age:
        return {name: full for name in NETWORKS if name == "student" or run.has_teacher}
    return found


def assess_run(
    run: ReportedRun,
    config: Config,
    images: ImageSet,
    *,
    on: str | None = None,
    limit: int | None = None,
    say: Say = print,
) -> dict[str, Assessment]:
    """The networks of a run on the images, from beside the run where they are known already.

    Args:
        run: The run.
        config: From `run_config`.
        images: From `image_set`.
        on: Name of the evaluation set.
        limit: How many images at most.
        say: Told what is being done.

    Raises:
        FileNotFoundError: There is no checkpoint.
        ValueError: A checkpoint does not fit the config, or the classes do not fit the images.
    """
    files = checkpoints_of(run)
    if not files:
        raise FileNotFoundError(
            "there is no checkpoint yet (neither deploy/student.pth nor iter_N.pth), so that "
            "nothing can be predicted"
        )
    found = {}
    for name, file in files.items():
        key = _key(file, name, images, limit)
        place = assessment_file(run.folder, name, on)
        known = read_assessment(place, key)
        if known is None:
            known = _predicted(run, config, images, name, file, limit, say)
            try:
                write_assessment(place, known, key)
            except OSError as error:
                say(f"The predictions cannot be kept for the next report: {error}")
        else:
            say(f"{run.folder}: {name} from {place}")
        found[name] = known
    return found


def _predicted(
    run: ReportedRun,
    config: Config,
    images: ImageSet,
    name: str,
    file: Path,
    limit: int | None,
    say: Say,
) -> Assessment:
    network = load_network(config, file, name)
    width = getattr(network.segmentor, "num_classes", len(images.classes))
    if width != len(images.classes):
        raise ValueError(
            f"the {name} tells {width} classes apart, the images have {len(images.classes)}"
        )

    def progress(done: int, count: int) -> None:
        # Ten lines an assessment: also a log file stays readable.
        if done == count or done % max(1, count // 10) == 0:
            say(f"{run.folder}: {name}, image {done} of {count}")

    return assess(network, images, limit=limit, progress=progress)


def _key(file: Path, name: str, images: ImageSet, limit: int | None) -> str:
    """What an assessment depends on; another image of the same name and size is not noticed."""
    infos = [images.images.get_data_info(index) for index in range(len(images.images))]
    paths = [info["img_path"] for info in infos]
    labels = [info["seg_map_path"] for info in infos if info.get("seg_map_path")]
    files = files_digest([*paths, *labels], Path(paths[0]).parent if paths else ".")
    about = [name, file_digest(file), files, limit, images.labelled, list(images.classes)]
    return digest(plain(about))
