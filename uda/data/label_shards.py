"""Parts of a pass over a target set that know nothing of each other, and their joining."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from uda.data.pseudo_labels import MANIFEST, LabelledImage, Manifest

Item = TypeVar("Item")
_FORM = re.compile(r"([0-9]+)/([0-9]+)")
_NAME = re.compile(r"manifest_([0-9]+)_of_([0-9]+)\.json")


@dataclass(frozen=True, order=True)
class Shard:
    """One of several shares of the batches of a pass: every `count`-th, from the `number`-th on.

    Attributes:
        number: Counted from 1.
        count: How many shards there are; 1: the whole pass.

    >>> Shard.parse("2/3").of(["a", "b", "c", "d", "e"])
    ['b', 'e']
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that ``"2/4"`` stands for.

        Raises:
            ValueError: It is no shard.
        """
        found = _FORM.fullmatch(text.strip())
        shard = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise ValueError(
                f'a shard is given as number/count, such as "2/4" for the second of four, from '
                f'"1/N" to "N/N"; not {text!r}.'
            )
        return shard

    def of(self, batches: Sequence[Item]) -> list[Item]:
        """Its share."""
        return list(batches[self.number - 1 :: self.count])

    def file(self, name: str) -> str:
        """What a file of the whole pass is called for this part.

        >>> Shard(2, 4).file("manifest.json"), Shard().file("manifest.json")
        ('manifest_2_of_4.json', 'manifest.json')
        """
        path = Path(name)
        part = f"_{self.number}_of_{self.count}" if self.count > 1 else ""
        return f"{path.stem}{part}{path.suffix}"


def finished_shards(folder: str | Path) -> list[Shard]:
    """The shards that have a manifest in a folder, by number."""
    names = (_NAME.fullmatch(path.name) for path in Path(folder).glob("manifest_*.json"))
    return sorted(Shard(*map(int, name.groups())) for name in names if name)


def join_shards(folder: str | Path) -> Manifest:
    """Make one manifest of those of all shards, and write it.

    The images and the thresholds after each batch come in the order of the one pass, of which each
    shard took every n-th batch. The mean confidence of a class is that of the shards, weighted by
    the pixels that each kept of it: where one pass has a running mean over its batches, there is
    none over all of them. The same shards give the same bytes, whoever joins them.

    Args:
        folder: Holds the labels and the manifests of all shards.

    Raises:
        ValueError: There are no shards, some are missing, they are of different passes, or a label
            is not there.
    """
    folder = Path(folder).absolute()
    shards = finished_shards(folder)
    count = max((shard.count for shard in shards), default=0)
    missing = [n for n in range(1, count + 1) if Shard(n, count) not in shards]
    if not shards or missing or len(shards) != count:
        raise ValueError(
            f"{folder} has to hold the manifests of all shards of one pass, "
            f"{Shard(1, count or 2).file(MANIFEST)} and so on; "
            + (f"number {missing[0]} of {count} is missing." if missing else _none_or_mixed(count))
        )
    parts = [Manifest.read(folder, shard.file(MANIFEST)) for shard in shards]
    _check_alike(folder, parts)
    joined = _joined(parts)
    for image in joined.images:
        if not (folder / image.label).is_file():
            raise ValueError(
                f"there is no {folder / image.label}: copy the labels of all shards into one "
                "folder, beside their manifests"
            )
    joined.write(folder)
    return joined


def _none_or_mixed(count: int) -> str:
    return "there are shards of passes of several sizes." if count else "there is none."


def _check_alike(folder: Path, parts: Sequence[Manifest]) -> None:
    """Raise unless all parts are of one pass."""
    for number, part in enumerate(parts, start=1):
        same = part.settings == {**parts[0].settings, "shard": [number, len(parts)]}
        if not same or part.checkpoint["sha256"] != parts[0].checkpoint["sha256"]:
            raise ValueError(
                f"shard {number} of {len(parts)} in {folder} is of another network, other settings "
                "or other images than shard 1; label it again with the same command"
            )


def _joined(parts: Sequence[Manifest]) -> Manifest:
    batch_size = int(parts[0].settings["batch_size"])
    images: list[LabelledImage] = []
    thresholds = []
    batches = max(-(-len(part.images) // batch_size) for part in parts)
    for batch in range(batches):
        for part in parts:
            images += part.images[batch * batch_size : (batch + 1) * batch_size]
            thresholds += part.thresholds[batch : batch + 1]
    means = np.array([part.class_mean for part in parts])
    pixels = np.array([part.pixels().sum(1) for part in parts])
    mean = (means * pixels).sum(0) / np.maximum(pixels.sum(0), 1)
    settings = {**parts[0].settings, "shards": len(parts)}
    del settings["shard"]
    return dataclasses.replace(
        parts[0],
        images=images,
        thresholds=thresholds,
        class_mean=mean.tolist(),
        settings=settings,
    )
