"""A data set of a config as the check needs it: its files, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mmseg.registry import DATASETS

from uda.data.check.findings import Finding, of_folder, of_set
from uda.data.check.pairs import Pair, Reading
from uda.data.folder import FolderDataset
from uda.data.labels import label_items
from uda.data.listing import list_folders

Role = Literal["source", "target", "validation", "evaluation"]


@dataclass(frozen=True)
class SetToCheck:
    """A data set of a config.

    Attributes:
        name: For the report.
        role: What it is for.
        config: Its config.
        batch_size: Of its loader.
    """

    name: str
    role: Role
    config: Mapping[str, Any]
    batch_size: int = 1


@dataclass
class OpenedSet:
    """A data set whose folders are listed.

    Attributes:
        asked: What it was opened for.
        dataset: The data set; None when it could not be built.
        pairs: Files to check.
        images: Images that are used.
        findings: What the folders tell.
    """

    asked: SetToCheck
    dataset: Any = None
    pairs: list[Pair] = field(default_factory=list)
    images: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Class names; none of a set that could not be built."""
        return list(getattr(self.dataset, "metainfo", {}).get("classes") or ())


def merge_equal(sets: Sequence[SetToCheck]) -> list[SetToCheck]:
    """The sets, those that read the same files in the same way put into one.

    >>> day = SetToCheck("validation", "validation", {"image_dir": "day"})
    >>> [s.name for s in merge_equal([day, SetToCheck("day", "evaluation", {"image_dir": "day"})])]
    ['validation, day']
    """
    merged: list[SetToCheck] = []
    for one in sets:
        place = next((i for i, known in enumerate(merged) if known.config == one.config), None)
        if place is None:
            merged.append(one)
        else:
            known = merged[place]
            name = f"{known.name}, {one.name}"
            merged[place] = SetToCheck(name, known.role, known.config, known.batch_size)
    return merged


def open_set(asked: SetToCheck) -> OpenedSet:
    """The files of a data set, and what its folders tell.

    Args:
        asked: The set.

    Raises:
        Exception: The config of a `FolderDataset` is wrong; whatever its constructor raises.
    """
    if asked.config.get("type") in ("FolderDataset", FolderDataset):
        return _open_folders(asked)
    opened = OpenedSet(asked)
    try:
        opened.dataset = DATASETS.build(dict(asked.config))
        infos = [opened.dataset.get_data_info(i) for i in range(len(opened.dataset))]
        opened.images = len(infos)
        # Other libraries read labels by rules of their own.
        reading = Reading(None, 0, "error")
        opened.pairs = [Pair(i["img_path"], i.get("seg_map_path"), reading) for i in infos]
    except Exception as error:  # of any library
        told = f"{asked.config.get('type')}: {error}"
        opened.findings.append(of_set(asked.name, "not built", told))
    return opened


def _open_folders(asked: SetToCheck) -> OpenedSet:
    dataset: FolderDataset = DATASETS.build({**asked.config, "lazy_init": True})
    listing = list_folders(dataset.settings)
    opened = OpenedSet(asked, dataset)
    opened.findings = [of_folder(asked.name, misfit) for misfit in listing.misfits]
    if asked.role == "evaluation":
        opened.findings = [_of_absent_set(finding) for finding in opened.findings]
    broken = {f for m in listing.misfits if m.kind == "broken link" for f in m.files}
    reading = Reading(label_items(dataset.label_map), dataset.num_classes, dataset.unmapped)
    chosen = _subset(list(zip(listing.images, listing.labels, strict=True)), asked.config)
    opened.images = len(chosen)
    for image, label in chosen:
        path = str(dataset.image_dir / image)
        label_path = None if label is None else str((dataset.label_dir or "") / label)
        label_path = None if label_path in broken else label_path
        if path not in broken:
            opened.pairs.append(Pair(path, label_path, reading))
    return opened


def _of_absent_set(finding: Finding) -> Finding:
    """Training does not read evaluation sets, so one that was not fetched is no error."""
    if finding.kind != "no folder":
        return finding
    advice = "nothing, unless you mean to score this set by tools/test.py"
    return Finding("warning", finding.kind, finding.dataset, finding.text, advice, finding.files)


def _subset(entries: list[Any], config: Mapping[str, Any]) -> list[Any]:
    """The entries that `indices` takes, as mmengine does it."""
    indices = config.get("indices")
    if indices is None:
        return entries
    if isinstance(indices, int):
        return entries[:indices] if indices >= 0 else entries[indices:]
    return [entries[index] for index in indices if -len(entries) <= index < len(entries)]
