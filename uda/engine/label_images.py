"""The images of a target set that are to be labelled, and what their labels are called."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmseg.registry import DATASETS

from uda.data.joined import only_target
from uda.data.listing.images import image_stems
from uda.data.pseudo_labels import SUFFIX
from uda.engine.deploy import inference_pipeline
from uda.engine.inference import LABEL_LOADERS


def target_set(config: Config, scale: tuple[int, int] | None = None) -> Any:
    """The target training images of a config as they are labelled; no label is looked for.

    Args:
        config: The run's config.
        scale: See `LabelSettings`.

    Raises:
        ValueError: The config has no target images, or there is no image.
    """
    settings = only_target(config, "Pseudo-labels lie in one folder, for one target data set")
    if settings is None:
        raise ValueError(
            "Pseudo-labels are made for the target images, but this config has none (target=None)."
        )
    steps = [dict(s) for s in inference_pipeline(config) if s["type"] not in LABEL_LOADERS]
    if steps and steps[0]["type"] == "LoadImageFromFile":
        steps[0] = {"type": "LoadImage"}  # as in training
    if scale is not None:
        resize = {"type": "Resize", "scale": tuple(scale), "keep_ratio": True}
        steps = [{"type": "LoadImage"}, resize, {"type": "PackSegInputs"}]
    changes = {"pipeline": steps, "label_dir": None, "test_mode": True}
    dataset = DATASETS.build({**copy.deepcopy(dict(settings)), **changes})
    dataset.full_init()
    if len(dataset) == 0:
        raise ValueError(f"There is no target image to label: {dataset!r}")
    return dataset


def label_names(dataset: Any) -> dict[str, tuple[str, str]]:
    """Image and label, relative to their folders, of each image by its full path.

    Args:
        dataset: A `FolderDataset`.
    """
    paths = [info["img_path"] for info in dataset.data_list]
    images = [Path(path).relative_to(dataset.image_dir).as_posix() for path in paths]
    stems = image_stems(images, dataset.settings)
    return {p: (image, stems[image] + SUFFIX) for p, image in zip(paths, images, strict=True)}
