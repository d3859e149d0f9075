"""Folders whose files do not fit together, and data sets that do not fit the config."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tests.bad_input.cases import DataCase
from tests.bad_input.files import again, broken_link, change, ids, photo, rename, save
from tests.bad_input.image_table import IMAGE, LABEL, SOURCE, TARGET

LONG = "x" * 251 + ".png"  # 255 bytes, the longest name there is
PAIRS = "train_dataloader.dataset"
MISSING = (
    "1 of 4 images have no label, the first: {data}/source/images/1.png wants "
    "{data}/source/labels/1.png; "
)


def keep(data: Path, folders: Iterable[str], names: Iterable[str]) -> None:
    """Remove all files but some."""
    kept = set(names)
    for folder in folders:
        for path in (data / folder).iterdir():
            if path.name not in kept:
                path.unlink()


def accents_apart(data: Path) -> None:
    """An image of composed characters and a label of decomposed ones: equal to the eye."""
    (data / IMAGE).rename(data / "source/images/fähre.png")
    (data / LABEL).rename(data / "source/labels" / unicodedata.normalize("NFD", "fähre.png"))


def link_to_itself(data: Path) -> None:
    """A folder with a link to the folder above it."""
    folder = data / "target/images"
    (folder / "more").mkdir()
    os.symlink(folder, folder / "more/back")
    (folder / "0.png").rename(folder / "more/0.png")


def half_prepared(data: Path) -> None:
    """Converted labels as a stopped preparation leaves them."""
    for number in (0, 1, 2):
        path = data / f"source/labels/{number}.png"
        shutil.copy(path, path.with_name(f"{number}_labelTrainIds.png"))


def without_class(data: Path, folder: str, count: int) -> None:
    """Labels of which none, or only the last, shows class 2."""
    for path in sorted((data / folder / "labels").iterdir())[:count]:
        label = ids(path)
        label[label == 2] = 0
        save(path, label)


def old_statistics(data: Path) -> None:
    """Class statistics that the first and the last label agree with, and not those between."""
    rows = []
    for path in sorted((data / "source/labels").iterdir()):
        label = ids(path)
        rows.append([path.name, [int((label == k).sum()) for k in range(3)]])
    rows[1][1] = [4096, 0, 0]
    content = {"version": 1, "num_classes": 3, "images": rows}
    (data / "source/labels/class_statistics.json").write_text(json.dumps(content))


FOLDERS = [
    DataCase(
        "image without label",
        lambda data: (data / LABEL).unlink(),
        MISSING + "check label_dir and label_suffix",
        (("no label", "source", 1),),
    ),
    DataCase(
        "label without image",
        lambda data: (data / IMAGE).unlink(),
        found=(("lone label", "source", 1),),
    ),
    DataCase(
        "label in capitals",
        lambda data: (data / LABEL).rename(data / "source/labels/1.PNG"),
        MISSING + "there is {data}/source/labels/1.PNG, which differs in upper and lower case or "
        "in the form of its accents; give it the image's name",
        (("no label", "source", 1),),
    ),
    DataCase(
        "label with accents of another form",
        accents_apart,
        "1 of 4 images have no label, the first: {data}/source/images/fähre.png wants "
        "{data}/source/labels/fähre.png; there is {data}/source/labels/"
        + unicodedata.normalize("NFD", "fähre.png")
        + ", which differs in upper and lower case or in the form of its accents; give it the "
        "image's name",
        (("no label", "source", 1), ("lone label", "source", 1)),
    ),
    DataCase(
        "interrupted preparation",
        half_prepared,
        "1 of 4 images have no label, the first: {data}/source/images/3.png wants "
        "{data}/source/labels/3_labelTrainIds.png; check label_dir and label_suffix, and that "
        "tools/prepare_data.py ran to its end",
        (("no label", "source", 1),),
        options={f"{SOURCE}.label_suffix": "_labelTrainIds.png"},
    ),
    DataCase("converted labels beside the originals", half_prepared),
    DataCase(
        "one name in two formats, with a label",
        lambda data: save(data / "source/images/1.jpg", photo(data / IMAGE)),
        "1 labels in {data}/source/labels belong to several images, the first: "
        "{data}/source/images/1.jpg and 1.png both want 1.png; remove one of each, or give the "
        "image_suffix of those to use",
        (("shared label", "source", 1),),
    ),
    DataCase(
        "one name in two formats, without labels",
        lambda data: save(data / "target/images/1.jpg", photo(data / "target/images/1.png")),
        found=(("same name", "target", 1),),
    ),
    DataCase(
        "images of another ending among others",
        lambda data: again(data / "target/images/1.png", "RGB", ".bmp"),
        found=(("other ending", "target", 1),),
    ),
    DataCase(
        "names that are not ASCII", lambda data: rename(data / "source", "1.png", "öß 日.png")
    ),
    DataCase("the longest name", lambda data: rename(data / "source", "1.png", LONG)),
    DataCase(
        "broken link to an image",
        lambda data: broken_link(data / IMAGE),
        "1 of 4 images in {data}/source/images are links that lead nowhere, the first: "
        "{data}/source/images/1.png to gone.png; mend or remove them",
        (("broken link", "source", 1),),
    ),
    DataCase(
        "broken link to a label",
        lambda data: broken_link(data / LABEL),
        "1 of 4 labels in {data}/source/labels are links that lead nowhere, the first: "
        "{data}/source/labels/1.png to gone.png; mend or remove them",
        (("broken link", "source", 1),),
    ),
    DataCase("folder linked into itself", link_to_itself),
    DataCase(
        "folder that must not be listed",
        link_to_itself,
        "cannot list folder {data}/target/images/more: permission denied; give yourself the right "
        "to read it, or move it away",
        (("closed folder", "target", 1),),
        forbidden="target/images/more",
    ),
    DataCase(
        "no folder",
        lambda data: shutil.rmtree(data / "target"),
        "image folder not found: {data}/target/images; check data_root and image_dir",
        (("no folder", "target", 1),),
    ),
    DataCase(
        "no label folder",
        lambda data: shutil.rmtree(data / "source/labels"),
        "label folder not found: {data}/source/labels; give label_dir=None for unlabelled images",
        (("no folder", "source", 1),),
    ),
    DataCase(
        "empty folder",
        lambda data: keep(data, ["target/images"], []),
        "no image in {data}/target/images: looked in all subfolders for names ending in .png, "
        ".jpg, .jpeg; check image_dir and image_suffix",
        (("no image", "target", 1),),
    ),
    DataCase(
        "folder of other files",
        lambda data: None,
        "no image in {data}/target/images: looked in all subfolders for names ending in .jpg "
        "(there are files ending in .png); check image_dir and image_suffix",
        (("no image", "target", 1),),
        options={f"{TARGET}.image_suffix": ".jpg"},
    ),
    DataCase(
        "include that fits nothing",
        lambda data: None,
        "none of the 4 images in {data}/target/images matches include=['night/*']; a relative "
        "path looks like '0.png'",
        (("choice", "target", 1),),
        options={f"{TARGET}.include": "night/*"},
    ),
    DataCase(
        "no split file",
        lambda data: None,
        "split file not found: {data}/target/train.txt",
        (("choice", "target", 1),),
        options={f"{TARGET}.split_file": "train.txt"},
    ),
    DataCase(
        "split file of other images",
        lambda data: (data / "target/train.txt").write_text("0\n1\n7\n8\n"),
        "2 of 4 images that {data}/target/train.txt names are not in {data}/target/images, the "
        "first: 7, 8; wanted paths relative to that folder",
        (("choice", "target", 2),),
        options={f"{TARGET}.split_file": "train.txt"},
    ),
    DataCase(
        "split file that is no text",
        lambda data: (data / "target/train.txt").write_bytes(b"\xff\xfe"),
        "cannot read split file {data}/target/train.txt: it is no text; wanted one image path a "
        "line",
        (("choice", "target", 1),),
        options={f"{TARGET}.split_file": "train.txt"},
    ),
    DataCase(
        "one image only",
        lambda data: keep(data, ["source/images", "source/labels", "target/images"], ["1.png"]),
        found=(("one image", "source", 0), ("one image", "target", 0)),
    ),
    DataCase(
        "target without labels, garbage in their place",
        lambda data: [path.write_bytes(b"") for path in (data / "target/labels").iterdir()],
    ),
]
SETS = [
    DataCase(
        "class never present",
        lambda data: without_class(data, "source", 4),
        found=(("class absent", "source", 0),),
    ),
    DataCase(
        "class that validation never shows",
        lambda data: without_class(data, "val", 2),
        found=(("class absent", "validation", 0),),
    ),
    DataCase(
        "class too small for rare class sampling",
        lambda data: change(data / LABEL, 2, slice(None)),
        "rare class sampling: no image has more than min_pixels=4000 pixels of class 0 (ground); "
        "the most in one image is 1536, or of class 1 (wall); the most in one image is 2048. Lower "
        "min_pixels below that, or list in classes only those to draw, without 'ground', 'wall'",
        (("class undrawable", "source", 0),),
        options={f"{PAIRS}.sampling": {"min_pixels": 4000}},
    ),
    DataCase(
        "class to draw that no label shows",
        lambda data: without_class(data, "source", 4),
        "rare class sampling: class 2 (pole) is listed in classes but no image has a pixel of it; "
        "remove it",
        (("class absent", "source", 0), ("class undrawable", "source", 0)),
        options={f"{PAIRS}.sampling": {"classes": ["pole"]}},
    ),
    DataCase(
        "class to draw of one image",
        lambda data: without_class(data, "source", 3),
        found=(("class of one image", "source", 1),),
        options={f"{PAIRS}.sampling": {"temperature": 0.1}},
    ),
    DataCase(
        "class statistics of older labels",
        old_statistics,
        found=(("stale statistics", "source", 1),),
        options={f"{PAIRS}.sampling": {"temperature": 0.1}},
        spoils=True,
    ),
    DataCase(
        "crop larger than the image",
        lambda data: None,
        found=(("padded", "source", 4), ("padded", "target", 4)),
        options={
            f"{SOURCE}.pipeline.2.crop_size": (96, 64),
            f"{TARGET}.pipeline.1.crop_size": (96, 64),
            "model.data_preprocessor.size": (96, 64),
        },
    ),
    DataCase(
        "validation batch of two sizes",
        lambda data: [
            save(data / f"val/{kind}/1.png", photo(data / f"val/{kind}/1.png").crop((0, 0, 64, 32)))
            if kind == "images"
            else save(data / f"val/{kind}/1.png", ids(data / f"val/{kind}/1.png")[:32])
            for kind in ("images", "labels")
        ],
        found=(("batch of sizes", "validation", 0),),
        options={"val_dataloader.batch_size": 2},
        spoils=True,
    ),
]
