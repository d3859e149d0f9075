"""Names and colours of the classes that a config's network predicts."""

from __future__ import annotations

from typing import Any, NamedTuple

from mmengine.config import Config
from mmseg.registry import DATASETS

from uda.data.folder import default_palette
from uda.data.joined import settings_of


class Classes(NamedTuple):
    """Classes in the order of their train ids.

    Attributes:
        names: Of each class.
        palette: RGB (0 to 255) of each class.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


def classes_of(config: Config, num_classes: int) -> Classes:
    """The classes of a run's config, and whether they fit a network.

    Args:
        config: The run's config.
        num_classes: What the network predicts.

    Raises:
        ValueError: The config names no classes, or another number of them.
    """
    settings: Any = _data_set(config)
    stated = getattr(DATASETS.get(settings.get("type", "")), "METAINFO", None) or {}
    names = settings.get("classes") or stated.get("classes")
    if not names:
        raise ValueError(
            f"{config.filename} names no classes: its data sets have neither `classes` nor a type "
            "that knows them; write classes=[...] there, in the order of the train ids."
        )
    if len(names) != num_classes:
        raise ValueError(
            f"{config.filename} names {len(names)} classes ({', '.join(names[:3])}, ...), but its "
            f"network predicts {num_classes}; give all classes in the order of the train ids, and "
            "num_classes of the heads."
        )
    colours = settings.get("palette") or stated.get("palette") or default_palette(num_classes)
    return Classes(
        tuple(str(name) for name in names),
        tuple((int(r), int(g), int(b)) for r, g, b in colours),
    )


def _data_set(config: Config) -> Any:
    """The first labelled data set of a config; an empty dict if it has none."""
    pairs = (config.get("train_dataloader") or {}).get("dataset") or {}
    found = settings_of(pairs.get("source"))
    if found:
        return found[0]
    loader = config.get("val_dataloader") or {}
    return loader.get("dataset") or {}
