"""Several data sets as one: images one set after the other, each with its own pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmseg.registry import DATASETS


class JoinedDatasets:
    """The images of several data sets of the same classes, in their order.

    Args:
        parts: Data sets such as `FolderDataset`, at least one.
        name: What they are, for error messages.

    Raises:
        ValueError: There is none, or they have different classes.

    Attributes:
        parts: The data sets.
    """

    def __init__(self, parts: Sequence[Any], *, name: str = "joined") -> None:
        if not parts:
            raise ValueError(f"The list of {name} data sets is empty: name at least one.")
        self.parts = list(parts)
        classes = [list(part.metainfo["classes"]) for part in self.parts]
        for number, own in enumerate(classes[1:], start=2):
            if own != classes[0]:
                raise ValueError(
                    f"The first {name} data set has the classes {classes[0]}, number {number} "
                    f"{own}; give all sets one list (and a label_map where raw ids differ)."
                )

    def full_init(self) -> None:
        """Read the folders of all parts."""
        for part in self.parts:
            if hasattr(part, "full_init"):
                part.full_init()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Classes and palette, those of the first part."""
        return dict(self.parts[0].metainfo)

    @property
    def image_dir(self) -> Path | None:
        """The folder that holds the image folders of all parts; None if there is none."""
        return _common(getattr(part, "image_dir", None) for part in self.parts)

    @property
    def label_dir(self) -> Path | None:
        """The folder that holds the label folders of all parts; None if there is none."""
        return _common(getattr(part, "label_dir", None) for part in self.parts)

    def __len__(self) -> int:
        """Number of images of all parts."""
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Any:
        """The item of a place, by the pipeline of its part."""
        part, inner = self.part_of(index)
        return part[inner]

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Paths of the image at a place."""
        part, inner = self.part_of(index)
        info: dict[str, Any] = part.get_data_info(inner)
        return info

    def part_of(self, index: int) -> tuple[Any, int]:
        """The data set that holds a place, and the place in it.

        Raises:
            IndexError: There is no such place.
        """
        inner = index
        for part in self.parts:
            if 0 <= inner < len(part):
                return part, inner
            inner -= len(part)
        raise IndexError(f"there are {len(self)} images, got index {index}")


def parts_of(dataset: Any) -> list[Any]:
    """The data sets that a data set is made of; itself, if it is one."""
    return list(dataset.parts) if isinstance(dataset, JoinedDatasets) else [dataset]


def part_of(dataset: Any, index: int) -> tuple[Any, int]:
    """The single data set that holds a place, and the place in it."""
    return dataset.part_of(index) if isinstance(dataset, JoinedDatasets) else (dataset, index)


def build_joined(settings: Any, name: str) -> Any:
    """The data set of a config, of a list of configs, or the one given; None for None.

    Args:
        settings: Config, data set, or a list of either.
        name: "source" or "target", for error messages.

    Raises:
        ValueError: See `JoinedDatasets`.
    """
    # What is no list of data sets, such as a plain list of items, is a data set itself.
    several = isinstance(settings, (list, tuple)) and len(settings) > 0
    if several and all(isinstance(one, Mapping) or hasattr(one, "metainfo") for one in settings):
        built = [build_joined(one, name) for one in settings]
        return built[0] if len(built) == 1 else JoinedDatasets(built, name=name)
    return DATASETS.build(settings) if isinstance(settings, Mapping) else settings


def settings_of(settings: Any) -> list[Any]:
    """The configs of a domain's data sets: one, several in a list, or none.

    >>> settings_of({"image_dir": "a"}), settings_of(None)
    ([{'image_dir': 'a'}], [])
    """
    if settings is None:
        return []
    return list(settings) if isinstance(settings, (list, tuple)) else [settings]


def _common(folders: Iterable[Any]) -> Path | None:
    known = list(folders)
    if any(folder is None for folder in known):
        return None
    try:
        return Path(os.path.commonpath([Path(folder).absolute() for folder in known]))
    except ValueError:  # on different drives
        return None


def only_target(config: Any, why: str) -> Any:
    """The target settings of a run's config, which have to be those of one data set; None for none.

    Args:
        config: Has `train_dataloader.dataset`.
        why: Begins the error message.

    Raises:
        ValueError: There are several.
    """
    targets = settings_of(config.train_dataloader.dataset.get("target"))
    if len(targets) > 1:
        raise ValueError(
            f"{why}, but this config has {len(targets)}: use a config with one of them at a time."
        )
    return targets[0] if targets else None
