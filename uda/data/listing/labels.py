"""The label side of a listing: the label of each image, and labels of none."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from uda.data.layouts import TRAIN_ID_SUFFIX
from uda.data.listing.parts import FolderSettings, Listing, add_broken, same_stems, tree_of


def add_labels(
    chosen: Mapping[str, str],
    stems: Mapping[str, str],
    settings: FolderSettings,
    listing: Listing,
) -> None:
    """The label of each image, and everything that does not fit between the two folders.

    Args:
        chosen: Images that are used, by name (see `uda.data.listing.images.image_stems`).
        stems: All images: labels of those that are not used are no surprise.
        settings: Where labels lie and how they are named.
        listing: Has the images; gets labels and misfits.
    """
    folder = settings.label_dir or settings.image_dir
    tree = tree_of(folder, "label", listing)
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
        _add_missing(missing, present, settings, listing)
    add_broken([label for label in wanted if label in present], tree, folder, "labels", listing)
    twice = same_stems(chosen)
    if twice:
        first, second = (settings.image_dir / name for name in twice[0][:2])
        listing.add(
            "shared label",
            [settings.image_dir / group[0] for group in twice],
            f"{len(twice)} labels in {folder} belong to several images, the first: {first} and "
            f"{second.name} both want {chosen[twice[0][0]]}{settings.label_suffix}",
            "remove one of each, or give the image_suffix of those to use",
        )
    _add_lone_labels(present, stems, settings, listing)


def _add_missing(
    missing: Sequence[tuple[Path, str]],
    present: set[str],
    settings: FolderSettings,
    listing: Listing,
) -> None:
    folder = settings.label_dir or settings.image_dir
    shown = "; ".join(f"{image} wants {folder / label}" for image, label in missing[:3])
    advice = "check label_dir and label_suffix"
    alike = {_alike(name): name for name in present}
    near = alike.get(_alike(missing[0][1]))
    if near is not None:
        advice = (
            f"there is {folder / near}, which differs in upper and lower case or in the form of "
            "its accents; give it the image's name"
        )
    elif settings.label_suffix.endswith(TRAIN_ID_SUFFIX):
        advice += ", and that tools/prepare_data.py ran to its end"
    listing.add(
        "no label",
        [image for image, _ in missing],
        f"{len(missing)} of {len(listing.images)} images have no label, the first: {shown}",
        advice,
    )


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
            "lone label",
            [folder / name for name in sorted(lone)],
            f"{len(lone)} labels in {folder} have no image, the first: {folder / min(lone)}",
            "nothing, if their images are missing on purpose: they are not used",
        )
