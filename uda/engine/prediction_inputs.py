"""What there is to predict at a path: one image, a folder of them, or a video."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from uda.data.file_tree import files_below
from uda.data.layouts import IMAGE_ENDINGS
from uda.data.video import VIDEO_ENDINGS


class Inputs(NamedTuple):
    """Files by the name that their outputs get, which is relative and has no ending.

    Attributes:
        images: Image files.
        videos: Video files.
    """

    images: dict[str, Path]
    videos: dict[str, Path]


def find_inputs(path: str | Path) -> Inputs:
    """The images and videos at a path.

    Args:
        path: An image, a video, or a folder, which is searched with its subfolders for images.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: The file is of another kind, the folder has no image, or two images of one
            folder differ in their ending alone.
    """
    place = Path(path)
    if place.is_dir():
        return Inputs(_images(place), {})
    if not place.exists():
        raise FileNotFoundError(f"There is no image, folder or video {place.absolute()}.")
    ending = place.suffix.lower()
    if ending in VIDEO_ENDINGS:
        return Inputs({}, {place.stem: place})
    if ending in IMAGE_ENDINGS:
        return Inputs({place.stem: place}, {})
    raise ValueError(
        f"{place.absolute()} is neither an image ({', '.join(IMAGE_ENDINGS)}) nor a video "
        f"({', '.join(VIDEO_ENDINGS)}) by its ending; rename or convert it."
    )


def _images(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    others = set()
    for name in sorted(files_below(folder).names):
        path = Path(name)
        if path.suffix.lower() not in IMAGE_ENDINGS:
            others.add(path.suffix.lower() or path.name)
            continue
        stem = path.with_suffix("").as_posix()
        if stem in found:
            raise ValueError(
                f"{folder / name} and {found[stem]} differ in their ending alone, so that their "
                "predictions would have one name; rename one of them."
            )
        found[stem] = folder / name
    if not found:
        there = f"; it has files ending in {', '.join(sorted(others)[:5])}" if others else ""
        videos = " Videos are predicted one by one: give a file." if others else ""
        raise ValueError(
            f"There is no image in {folder.absolute()} or its subfolders (looked for "
            f"{', '.join(IMAGE_ENDINGS)}{there}).{videos}"
        )
    return found
