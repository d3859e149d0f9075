"""What lies in a pair of folders: images, the label of each, and what does not fit together."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NoReturn

from uda.data.file_tree import FileTree, files_below
from uda.data.layouts import IMAGE_ENDINGS, TRAIN_ID_SUFFIX

Kind = Literal[
    "no folder",
    "unreadable folder",
    "no image",
    "choice",
    "broken link",
    "no label",
    "shared label",
    "same name",
    "no image of label",
    "other ending",
]
# What `FolderDataset` raises; the other kinds are for `tools/check_data.py` to tell.
_ERRORS: dict[Kind, type[Exception]] = {
    "no folder": FileNotFoundError,
    "unreadable folder": PermissionError,
    "no image": ValueError,
    "choice": ValueError,
    "broken link": FileNotFoundError,
    "no label": FileNotFoundError,
    "shared label": ValueError,
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
        message: One or two sentences with what was wanted, what is there, and what to do.
        error: The exception that training stops with; None where it goes on.
    """

    kind: Kind
    files: tuple[str, ...]
    message: str
    error: type[Exception] | None

    def stop(self) -> NoReturn:
        """Raise the error, which there has to be."""
        raise (self.error or ValueError)(self.message)


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
        message: str,
        error: type[Exception] | None = None,
    ) -> None:
        """Note something that does not fit."""
        paths = tuple(str(file) for file in files)
        self.misfits.append(Misfit(kind, paths, message, error or _ERRORS.get(kind)))


def list_folders(settings: FolderSettings) -> Listing:
    """Images and labels of two folders, with everything that does not fit in them.

    Args:
        settings: Which folders, and what to take of them.
    """
    listing = Listing()
    tree = _tree(settings.image_dir, "image", listing)
    if tree is None:
        return listing
    stems = _stems(tree.names, settings)
    chosen = _chosen(stems, settings, listing)
    if not chosen:
        if not listing.misfits:
            listing.add("no image", [settings.image_dir], _no_image(tree.names, settings))
        return listing
    listing.images = sorted(chosen)
    _add_broken(listing.images, tree, settings.image_dir, "images", listing)
    if settings.label_dir is None:
        listing.labels = [None] * len(listing.images)
        _add_same_names(chosen, settings, listing)
    else:
        _add_labels(chosen, stems, settings, listing)
    _add_other_endings(tree.names, stems, settings, listing)
    return listing


def _tree(folder: Path, what: str, listing: Listing) -> FileTree | None:
    if not folder.is_dir():
        advice = "" if what == "image" else "; give label_dir=None for unlabelled images"
        listing.add("no folder", [folder], f"{what} folder not found: {folder}{advice}")
        return None
    try:
        return files_below(folder)
    except PermissionError as error:
        listing.add("unreadable folder", [folder], str(error))
        return None


def _stems(names: Sequence[str], settings: FolderSettings) -> dict[str, str]:
    """Images by name, with the name less its suffix, the longest that fits."""
    endings = sorted({suffix.lower() for suffix in settings.image_suffixes}, key=len, reverse=True)
    stems = {}
    for name in names:
        ending = next((e for e in endings if name.lower().endswith(e)), None)
        if ending is not None:
            stems[name] = name[: len(name) - len(ending)]
    if settings.label_dir == settings.image_dir:
        # Images and labels side by side: a label may end like an image.
        label_suffix = settings.label_suffix.lower()
        stems = {n: s for n, s in stems.items() if not n.lower().endswith(label_suffix)}
    return stems


def _no_image(names: Sequence[str], settings: FolderSettings) -> str:
    told = (
        f"no image in {settings.image_dir}: looked in all subfolders for names ending in "
        f"{', '.join(settings.image_suffixes)}; check image_dir and image_suffix"
    )
    endings = sorted({Path(name).suffix for name in names} - {""})
    return told + f" (there are files ending in {', '.join(endings[:5])})" * bool(endings)


def _chosen(
    stems: Mapping[str, str], settings: FolderSettings, listing: Listing
) -> dict[str, str]:
    chosen = dict(stems)
    folder = settings.image_dir
    if settings.include is not None and stems:
        patterns = settings.include
        chosen = {n: s for n, s in stems.items() if any(fnmatchcase(n, p) for p in patterns)}
        if not chosen:
            listing.add(
                "choice",
                [folder],
                f"none of the {len(stems)} images in {folder} matches include={list(patterns)}; "
                f"a relative path looks like {min(stems)!r}",
            )
    if settings.split_file is None or not chosen:
        return chosen
    return _split(chosen, settings.split_file, folder, listing)


def _split(
    stems: Mapping[str, str], split_file: Path, folder: Path, listing: Listing
) -> dict[str, str]:
    try:
        lines = split_file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        told = f"split file not found: {split_file}"
        listing.add("choice", [split_file], told, FileNotFoundError)
        return {}
    except (OSError, UnicodeDecodeError) as error:
        told = f"cannot read split file {split_file}: {error}; wanted one image path a line"
        listing.add("choice", [split_file], told)
        return {}
    wanted = [line.strip() for line in lines if line.strip()]
    by_stem = {stem: name for name, stem in stems.items()}
    names = [line if line in stems else by_stem.get(line) for line in wanted]
    missing = [line for line, name in zip(wanted, names, strict=True) if name is None]
    if missing:
        listing.add(
            "choice",
            [folder / line for line in missing],
            f"{len(missing)} of {len(wanted)} images that {split_file} names are not in {folder}, "
            f"the first: {', '.join(missing[:3])}; wanted paths relative to that folder",
            FileNotFoundError,
        )
    if not wanted:
        listing.add("choice", [split_file], f"split file {split_file} names no image")
    return {name: stems[name] for name in names if name is not None}


def _add_broken(
    names: Sequence[str], tree: FileTree, folder: Path, what: str, listing: Listing
) -> None:
    broken = [folder / name for name in names if name in tree.broken]
    if broken:
        listing.add(
            "broken link",
            broken,
            f"{len(broken)} of {len(names)} {what} in {folder} are links that lead nowhere, the "
            f"first: {broken[0]} to {os.readlink(broken[0])}; mend or remove them",
        )


def _add_same_names(
    chosen: Mapping[str, str], settings: FolderSettings, listing: Listing
) -> None:
    twice = _same_stems(chosen)
    if twice:
        first, second = twice[0][:2]
        listing.add(
            "same name",
            [settings.image_dir / group[0] for group in twice],
            f"{len(twice)} names in {settings.image_dir} stand for several images, the first: "
            f"{first} and {second}; both are used",
        )


def _same_stems(chosen: Mapping[str, str]) -> list[list[str]]:
    groups = defaultdict(list)
    for name in sorted(chosen):
        groups[chosen[name]].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _add_labels(
    chosen: Mapping[str, str],
    stems: Mapping[str, str],
    settings: FolderSettings,
    listing: Listing,
) -> None:
    folder = settings.label_dir or settings.image_dir
    tree = _tree(folder, "label", listing)
    present = set() if tree is None else set(tree.names)
    wanted = [chosen[image] + settings.label_suffix for image in listing.images]
    listing.labels = [label if label in present else None for label in wanted]
    if tree is None:
        return
    missing = [
        (settings.image_dir / image, label)
        for image, label in zip(listing.images, wanted, strict=True)
        if label not in present
    ]
    if missing:
        listing.add(
            "no label",
            [image for image, _ in missing],
            _no_label(missing, len(wanted), present, settings),
        )
    _add_broken([label for label in wanted if label in present], tree, folder, "labels", listing)
    twice = _same_stems(chosen)
    if twice:
        first, second = (settings.image_dir / name for name in twice[0][:2])
        listing.add(
            "shared label",
            [settings.image_dir / group[0] for group in twice],
            f"{len(twice)} labels in {folder} belong to several images, the first: {first} and "
            f"{second.name} both want {chosen[twice[0][0]]}{settings.label_suffix}; remove one of "
            "each, or give the image_suffix of those to use",
        )
    _add_lone_labels(present, stems, settings, listing)


def _no_label(
    missing: Sequence[tuple[Path, str]],
    count: int,
    present: set[str],
    settings: FolderSettings,
) -> str:
    folder = settings.label_dir or settings.image_dir
    shown = "; ".join(f"{image} wants {folder / label}" for image, label in missing[:3])
    advice = "Check label_dir and label_suffix"
    alike = {_alike(name): name for name in present}
    near = alike.get(_alike(missing[0][1]))
    if near is not None:
        advice = (
            f"There is {folder / near}, which differs in upper and lower case or in the form of "
            "its accents; give it the image's name"
        )
    elif settings.label_suffix.endswith(TRAIN_ID_SUFFIX):
        advice += ", and that tools/prepare_data.py ran to its end"
    return f"{len(missing)} of {count} images have no label, the first: {shown}. {advice}"


def _alike(name: str) -> str:
    """The same text for names that a reader takes for equal."""
    return unicodedata.normalize("NFC", name).casefold()


def _add_lone_labels(
    present: set[str], stems: Mapping[str, str], settings: FolderSettings, listing: Listing
) -> None:
    folder = settings.label_dir or settings.image_dir
    suffix = settings.label_suffix
    of_images = {stem + suffix for stem in stems.values()}
    lone = {name for name in present - of_images - set(stems) if name.endswith(suffix)}
    if not suffix.endswith(TRAIN_ID_SUFFIX):
        # Converted labels lie beside the originals.
        lone = {name for name in lone if not name.endswith(TRAIN_ID_SUFFIX)}
    if lone:
        listing.add(
            "no image of label",
            [folder / name for name in sorted(lone)],
            f"{len(lone)} labels in {folder} have no image, the first: {folder / min(lone)}; they "
            "are not used",
        )


def _add_other_endings(
    names: Sequence[str], stems: Mapping[str, str], settings: FolderSettings, listing: Listing
) -> None:
    if settings.label_dir == settings.image_dir or settings.split_file is not None:
        return
    read = {suffix.lower() for suffix in settings.image_suffixes}
    if not all(suffix.count(".") == 1 and suffix.startswith(".") for suffix in read):
        return  # "_leftImg8bit.png" passes others over on purpose
    other = sorted(n for n in names if n not in stems and n.lower().endswith(IMAGE_ENDINGS))
    if other:
        listing.add(
            "other ending",
            [settings.image_dir / name for name in other],
            f"{len(other)} images in {settings.image_dir} are not read, as they do not end in "
            f"{', '.join(settings.image_suffixes)}, the first: {settings.image_dir / other[0]}",
        )
