"""The image side of a listing: which images there are, and which of them are used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from uda.data.layouts import IMAGE_ENDINGS
from uda.data.listing.parts import FolderSettings, Listing, same_stems


def image_stems(names: Sequence[str], settings: FolderSettings) -> dict[str, str]:
    """Images by name, with the name less its suffix, the longest that fits.

    Args:
        names: All files of the image folder.
        settings: Which endings; where labels lie beside images, they are left out.
    """
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


def add_no_image(names: Sequence[str], settings: FolderSettings, listing: Listing) -> None:
    """Note that a folder has no image, and what it has.

    Args:
        names: All its files.
        settings: Which folder, and which endings.
        listing: Gets the misfit.
    """
    endings = sorted({Path(name).suffix for name in names} - {""})
    there = f" (there are files ending in {', '.join(endings[:5])})" if endings else ""
    listing.add(
        "no image",
        [settings.image_dir],
        f"no image in {settings.image_dir}: looked in all subfolders for names ending in "
        f"{', '.join(settings.image_suffixes)}{there}",
        "check image_dir and image_suffix",
    )


def chosen_images(
    stems: Mapping[str, str], settings: FolderSettings, listing: Listing
) -> dict[str, str]:
    """The images that `include` and the split file take, by name as from `image_stems`.

    Args:
        stems: All images.
        settings: What to take.
        listing: Gets a misfit where the choice does not fit the folder.
    """
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
        listing.add("choice", [split_file], told, error=FileNotFoundError)
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        told = f"cannot read split file {split_file}: {reason}"
        listing.add("choice", [split_file], told, "wanted one image path a line")
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
            f"the first: {', '.join(missing[:3])}",
            "wanted paths relative to that folder",
            error=FileNotFoundError,
        )
    if not wanted:
        listing.add("choice", [split_file], f"split file {split_file} names no image")
    return {name: stems[name] for name in names if name is not None}


def add_same_names(chosen: Mapping[str, str], settings: FolderSettings, listing: Listing) -> None:
    """Note images that differ in their ending alone, where there is no label to share.

    Args:
        chosen: Images that are used, by name.
        settings: Which folder.
        listing: Gets the misfit.
    """
    twice = same_stems(chosen)
    if twice:
        first, second = (settings.image_dir / name for name in twice[0][:2])
        listing.add(
            "same name",
            [settings.image_dir / group[0] for group in twice],
            f"{len(twice)} names in {settings.image_dir} stand for several images, the first: "
            f"{first} and {second.name}",
            "remove one of each if they show the same: both are used",
        )


def add_other_endings(
    names: Sequence[str], stems: Mapping[str, str], settings: FolderSettings, listing: Listing
) -> None:
    """Note images that have another ending than those that are read.

    Args:
        names: All files of the image folder.
        stems: Images, from `image_stems`.
        settings: Which endings.
        listing: Gets the misfit.
    """
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
            "add their ending to image_suffix if they are to be used",
        )
