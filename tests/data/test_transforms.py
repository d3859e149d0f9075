"""Reading images and labels: formats, label maps, and errors that name the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import uda.data.registration  # noqa: F401
from tests.data.folders import write_image, write_palette
from uda.data.images import read_image
from uda.data.transforms import LoadImage, LoadLabel

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def load_label(path: Path, **info: object) -> np.ndarray:
    results = {"seg_map_path": str(path), "num_classes": 3, **info}
    return LoadLabel().transform(results)["gt_seg_map"]


def test_load_image_values(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", PHOTO)
    results = LoadImage().transform({"img_path": str(path)})
    assert np.array_equal(results["img"], PHOTO)
    assert results["img_shape"] == results["ori_shape"] == (40, 60)


def test_load_image_ignores_orientation(tmp_path: Path) -> None:
    """Orientation 6 would turn a 40x60 image to 60x40; labels are never turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PHOTO).save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (40, 60, 3)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.999])
def test_cut_off_images_are_errors(tmp_path: Path, suffix: str, kept: float) -> None:
    path = write_image(tmp_path / f"photo{suffix}", PHOTO)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(OSError, match=f"cannot read image file {path}: it is (empty|cut off)"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_bytes_after_a_whole_image_are_allowed(tmp_path: Path, suffix: str) -> None:
    path = write_image(tmp_path / f"photo{suffix}", PHOTO)
    before = read_image(path)
    path.write_bytes(path.read_bytes() + b"\0" * 100)
    assert np.array_equal(read_image(path), before)


def test_read_image_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"image file not found: {tmp_path / 'none.png'}"):
        read_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(OSError, match=r"text\.png: it is cut off or not an image \(8 bytes\)"):
        read_image(tmp_path / "text.png")


def test_palette_label_is_read_as_indices(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)
    assert np.array_equal(load_label(write_palette(tmp_path / "p.png", indices)), indices)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_label_map_values(tmp_path: Path, dtype: type) -> None:
    """7 -> 0, 26 -> 2, 4 -> ignore; 255 stays 255 without being named."""
    path = write_image(tmp_path / "l.png", np.array([[7, 26], [4, 255]], dtype))
    mapped = load_label(path, label_map={7: 0, 26: 2, 4: 255})
    assert mapped.dtype == np.uint8
    assert mapped.tolist() == [[0, 2], [255, 255]]


def test_unmapped_ignore(tmp_path: Path) -> None:
    path = write_image(tmp_path / "l.png", np.array([[7, 9]], np.uint8))
    assert load_label(path, label_map={7: 0}, unmapped="ignore").tolist() == [[0, 255]]
    assert load_label(path, unmapped="ignore").tolist() == [[255, 255]]
    wide = write_image(tmp_path / "w.png", np.array([[1, 300]], np.uint16))
    assert load_label(wide, unmapped="ignore").tolist() == [[1, 255]]


def test_unknown_id_errors(tmp_path: Path) -> None:
    path = write_image(tmp_path / "l.png", np.array([[1, 9], [9, 12]], np.uint8))
    message = rf"{path} holds id 9 \(2 pixels\), 12 \(1 pixels\), wanted train ids 0\.\.2 or 255"
    with pytest.raises(ValueError, match=message):
        load_label(path)
    with pytest.raises(ValueError, match=r"label_map does not name \(it names \[1, 9\]\); add it"):
        load_label(path, label_map={9: 0, 1: 1})


def test_label_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image a\.png belongs to a data set without labels"):
        LoadLabel().transform({"img_path": "a.png"})
    with pytest.raises(FileNotFoundError, match="label file not found"):
        load_label(tmp_path / "none.png")
    colour = write_image(tmp_path / "colour.png", PHOTO)
    with pytest.raises(ValueError, match=r"colour\.png.*one channel"):
        load_label(colour)
    label = write_image(tmp_path / "l.png", np.zeros((4, 6), np.uint8))
    with pytest.raises(ValueError, match=r"number of classes.*num_classes=K"):
        LoadLabel().transform({"seg_map_path": str(label)})
    assert LoadLabel(num_classes=1).transform({"seg_map_path": str(label)})["seg_fields"]


def test_size_mismatch_names_both(tmp_path: Path) -> None:
    image = write_image(tmp_path / "i.png", PHOTO)
    label = write_image(tmp_path / "l.png", np.zeros((60, 40), np.uint8))
    results = LoadImage().transform({"img_path": str(image), "seg_map_path": str(label)})
    results["num_classes"] = 3
    with pytest.raises(ValueError, match=rf"{image} is \(40, 60\), {label} is \(60, 40\)"):
        LoadLabel().transform(results)


def test_label_after_resize_is_compared_with_the_file(tmp_path: Path) -> None:
    """In evaluation pipelines the image is resized before the label is read at its own size."""
    image = write_image(tmp_path / "i.png", PHOTO)
    label = write_image(tmp_path / "l.png", np.ones((40, 60), np.uint8))
    results = LoadImage().transform({"img_path": str(image), "seg_map_path": str(label)})
    results.update(img=cv2.resize(PHOTO, (30, 20)), img_shape=(20, 30), num_classes=3)
    assert LoadLabel().transform(results)["gt_seg_map"].shape == (40, 60)


def test_names_are_readable() -> None:
    assert repr(LoadImage()) == "LoadImage()"
    assert repr(LoadLabel(num_classes=4)) == "LoadLabel(num_classes=4)"
