"""Folder trees of the data sets: which label files there are and where their train ids go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from uda.data.class_tables import CAMVID_CLASSES, CITYSCAPES_CLASSES, ROBOTCAR_CLASSES
from uda.data.conventions import (
    CAMVID_COLOUR,
    CARLA,
    CITYSCAPES,
    GTA5,
    ROBOTCAR,
    SYNTHIA,
    LabelConvention,
)
from uda.data.file_tree import files_below

TRAIN_ID_SUFFIX = "_labelTrainIds.png"
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LABEL_ENDINGS = (".png", ".bmp", ".tif", ".tiff")  # lossless: JPEG would change the ids


@dataclass(frozen=True)
class LabelFile:
    """One label file of a tree, all paths relative to the root of the data set.

    Attributes:
        label: Original label file.
        converted: Its train ids; equal to `label` when that holds train ids already.
        image: The image it belongs to.
        counted: Whether it belongs in the statistics (the training split).
    """

    label: Path
    converted: Path
    image: Path
    counted: bool = True


@dataclass(frozen=True)
class Layout:
    """How one data set lies on the disk.

    Attributes:
        name: As on the command line.
        find: Label files below a root, in a fixed order; raises FileNotFoundError, with the whole
            path, when the folders are not there.
        label_root: Folder, relative to the root, that paths in the statistics are relative to.
        convention: Raw labels to train ids; None when the files hold train ids already.
        classes: Names in the order of the train ids; empty when only the files tell how many.
        labels_needed: False for target data, which may come without a single label.

    Example:
        >>> LAYOUTS["gta5"].label_root, len(LAYOUTS["gta5"].classes)
        ('labels', 19)
    """

    name: str
    find: Callable[[Path], list[LabelFile]]
    label_root: str
    convention: LabelConvention | None
    classes: tuple[str, ...] = CITYSCAPES_CLASSES
    labels_needed: bool = True


def folder_layout(label_map: dict[int, int] | None = None, classes: Sequence[str] = ()) -> Layout:
    """Layout of a plain labelled folder: ``images/`` and ``labels/`` with the same names.

    Args:
        label_map: ``{raw id: train id}``; None when the labels hold train ids already.
        classes: Names in the order of the train ids; may be empty.

    Raises:
        ValueError: A train id of the map has no name in `classes`.
    """
    plain = replace(LAYOUTS["folder"], classes=tuple(classes))
    if label_map is None:
        return plain
    convention = LabelConvention(name="label map", kind="ids", ids=label_map)
    if classes and convention.num_classes > len(classes):
        raise ValueError(
            f"the label map uses train id {convention.num_classes - 1}, but there are only "
            f"{len(classes)} classes"
        )
    return replace(plain, convention=convention, find=_find_flat("images", "labels"))


def _find_flat(images: str, labels: str, *, raw: bool = True) -> Callable[[Path], list[LabelFile]]:
    """Finder of ``labels/NAME.png`` beside ``images/NAME.*``, subfolders included.

    With `raw`, files that a conversion has made are passed over; else they are labels like others.
    """

    def find(root: Path) -> list[LabelFile]:
        pictures = _by_stem(_required(root, images), IMAGE_ENDINGS)
        found = []
        for stem, label in _labels(_required(root, labels)).items():
            made = label.name.endswith(TRAIN_ID_SUFFIX)
            if raw and made:
                continue
            path = Path(labels) / label
            converted = _train_id_path(path) if raw else path
            found.append(LabelFile(path, converted, Path(images) / pictures.get(stem, label)))
        return found

    return find


def _find_splits(root: Path) -> list[LabelFile]:
    """Raw label files ``labels/train|val/NAME.png`` beside ``images``; either may be absent."""
    found = []
    _required(root, "images")
    for split in ("train", "val"):
        if not (root / "labels" / split).is_dir():
            continue
        for file in _find_flat(f"images/{split}", f"labels/{split}")(root):
            found.append(replace(file, counted=split == "train"))
    return found


def _find_train_ids(
    images: str, labels: str, splits: Iterable[str]
) -> Callable[[Path], list[LabelFile]]:
    """Finder of files that hold train ids already, below ``labels/SPLIT``; the first one counts."""

    def find(root: Path) -> list[LabelFile]:
        found = []
        for row, split in enumerate(splits):
            if row and not (root / labels / split).is_dir():
                continue
            pictures = _by_stem(_required(root, f"{images}/{split}"), IMAGE_ENDINGS)
            for stem, label in _labels(_required(root, f"{labels}/{split}")).items():
                path = Path(labels) / split / label
                image = Path(images) / split / pictures.get(stem, label)
                found.append(LabelFile(path, path, image, counted=row == 0))
        return found

    return find


def _find_suffixed(
    images: str, labels: str, image_suffix: str, label_suffix: str, *, needed: bool
) -> Callable[[Path], list[LabelFile]]:
    """Finder of ``labels/.../train|val/.../NAME<suffix>``, the folders repeated below ``images``.

    Trees of these data sets differ in where the split stands in the path; it is the first part that
    is called train or val. Test folders hold empty labels, where they hold any, and are left alone.
    """
    final_suffix = label_suffix.replace("labelIds", "labelTrainIds")

    def find(root: Path) -> list[LabelFile]:
        _required(root, images)
        if not (root / labels).is_dir():
            if needed:
                _required(root, labels)
            return []
        found = []
        for stem, ending in _raw_or_final(root / labels, label_suffix, final_suffix).items():
            split = next((p for p in Path(stem).parts if p in ("train", "val")), None)
            if split is None:
                continue
            found.append(
                LabelFile(
                    label=Path(labels) / (stem + ending),
                    converted=Path(labels) / (stem + final_suffix),
                    image=Path(images) / (stem + image_suffix),
                    counted=split == "train",
                )
            )
        return found

    return find


def _raw_or_final(folder: Path, label_suffix: str, final_suffix: str) -> dict[str, str]:
    """Path without suffix, and the suffix to read: raw ids, or train ids where only these exist."""
    names = files_below(folder).names
    endings: dict[str, str] = {}
    for suffix in (final_suffix, label_suffix):
        for name in names:
            if name.endswith(suffix):
                endings[name[: -len(suffix)]] = suffix
    return dict(sorted(endings.items()))


def _find_camvid_colour(root: Path) -> list[LabelFile]:
    """Label files ``NAME_L.png`` of the original CamVid, images ``NAME.png`` in their own folder.

    Their folders keep the names of the two archives; there is no split, so all are counted.
    """
    images, labels = Path("701_StillsRaw_full"), Path("LabeledApproved_full")
    _required(root, str(images))
    found = []
    for path in sorted(_required(root, str(labels)).glob("*_L.png")):
        name = path.name[: -len("_L.png")]
        image = images / f"{name}.png"
        found.append(LabelFile(labels / path.name, labels / (name + TRAIN_ID_SUFFIX), image))
    return found


def _find_carla(root: Path) -> list[LabelFile]:
    """Label files ``NAME_seg.png`` beside ``NAME_rgb.png``, anywhere below the root."""
    found = []
    names = files_below(_required(root, ".")).names
    for label in sorted(Path(name) for name in names if name.endswith("_seg.png")):
        stem = label.name[: -len("_seg.png")]
        image, converted = (label.with_name(stem + end) for end in ("_rgb.png", TRAIN_ID_SUFFIX))
        found.append(LabelFile(label, converted, image))
    return found


def _train_id_path(label: Path) -> Path:
    return label.with_name(label.stem + TRAIN_ID_SUFFIX)


def _by_stem(folder: Path, endings: tuple[str, ...], *, alone: bool = False) -> dict[str, Path]:
    """Files by path without ending, relative to the folder; an original before its conversion.

    With `alone`, two files that differ in their ending alone are an error.
    """
    files: dict[str, Path] = {}
    # In this order NAME.png comes before NAME_labelTrainIds.png, which has the same key.
    for path in sorted(Path(name) for name in files_below(folder).names):
        if path.suffix.lower() not in endings:
            continue
        made = path.name.endswith(TRAIN_ID_SUFFIX)
        key = path.as_posix().removesuffix(TRAIN_ID_SUFFIX)
        if not made:
            key = path.with_suffix("").as_posix()
            if alone and key in files:
                raise ValueError(
                    f"{folder.absolute() / files[key]} and {path.name} are labels of one image; "
                    "remove the one that does not count"
                )
        files.setdefault(key, path)
    return files


def _labels(folder: Path) -> dict[str, Path]:
    return _by_stem(folder, LABEL_ENDINGS, alone=True)


def _required(root: Path, folder: str) -> Path:
    path = root / folder
    if not path.is_dir():
        raise FileNotFoundError(
            f"folder not found: {path.absolute()}; data/README.md shows the tree wanted"
        )
    return path


def _street(name: str, images: str, labels: str, suffixes: tuple[str, str], root: str) -> Layout:
    needed = name == "cityscapes"
    find = _find_suffixed(images, labels, *suffixes, needed=needed)
    return Layout(name, find, root, CITYSCAPES, labels_needed=needed)


ANONYMISED = ("_rgb_anon.png", "_gt_labelIds.png")

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("gta5", _find_flat("images", "labels"), "labels", GTA5),
        Layout("synthia", _find_flat("RGB", "GT/LABELS"), "GT/LABELS", SYNTHIA),
        _street(
            "cityscapes",
            "leftImg8bit",
            "gtFine",
            ("_leftImg8bit.png", "_gtFine_labelIds.png"),
            "gtFine/train",
        ),
        _street("acdc", "rgb_anon", "gt", ANONYMISED, "gt"),
        _street("dark_zurich", "rgb_anon", "gt", ANONYMISED, "gt"),
        Layout(
            "camvid",
            _find_train_ids("source/images", "source/labels", ("train", "val")),
            "source/labels/train",
            None,
            CAMVID_CLASSES,
        ),
        Layout("camvid_colour", _find_camvid_colour, "LabeledApproved_full", CAMVID_COLOUR),
        Layout("robotcar", _find_splits, "labels", ROBOTCAR, ROBOTCAR_CLASSES, labels_needed=False),
        Layout("carla", _find_carla, ".", CARLA),
        Layout("folder", _find_flat("images", "labels", raw=False), "labels", None, ()),
    )
}
"""Every layout that ``tools/prepare_data.py`` knows, by name."""
