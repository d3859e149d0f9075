"""Images and labels that are damaged, of an odd kind, or do not fit each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.bad_input.cases import DataCase
from tests.bad_input.files import (
    again,
    change,
    cut,
    grey_png,
    ids,
    monstrous_png,
    orientation,
    other_checksum,
    patchy_jpeg,
    save,
    twelve_bits,
)

IMAGE, LABEL = "source/images/1.png", "source/labels/1.png"
SOURCE = "train_dataloader.dataset.source"
TARGET = "train_dataloader.dataset.target"
SUFFIXES = (".png", ".tif")
NO_IMAGE = (
    "cannot read image file {data}/source/images/1.png: it is cut off or not an image (%d bytes); "
    "fetch or convert it again, or remove it"
)
DEEP = (
    "image file {data}/source/images/1.png has 16 bits a channel, wanted 8; convert it with the "
    "range of values that you use (the upper 8 bits alone may be almost black)"
)
NO_LABEL = "cannot read label file {data}/source/labels/1.png: %s; fetch or convert it again"
ONE_CHANNEL = (
    "label file {data}/source/labels/1.png has shape %s; wanted one channel of class ids (H, W). "
    "Colour-coded labels are converted first by tools/prepare_data.py"
)


def put(data: Path, name: str, content: bytes) -> None:
    """Put other bytes in place of a file."""
    (data / name).write_bytes(content)


def in_colour(data: Path, channels: int) -> None:
    """A label whose id stands in every channel."""
    save(data / LABEL, np.stack([ids(data / LABEL)] * channels, axis=-1))


def of_floats(data: Path) -> None:
    """A label of floating-point numbers, which only TIFF holds."""
    save(data / LABEL, ids(data / LABEL).astype(np.float32), format="TIFF")


def upright_label(data: Path) -> None:
    """An image of a camera held upright, 64x32 as stored, with the label as a viewer shows it."""
    (data / IMAGE).unlink()
    pixels = np.full((32, 64, 3), 90, np.uint8)
    save(data / "source/images/1.jpg", pixels, exif=orientation(6))
    save(data / LABEL, np.zeros((64, 32), np.uint8))


def label_on_stored_pixels(data: Path) -> None:
    """The same image, and a label that lies as the stored pixels do."""
    upright_label(data)
    save(data / LABEL, np.zeros((32, 64), np.uint8))


IMAGES = [
    DataCase("clean", lambda data: None),
    DataCase(
        "image cut off",
        lambda data: cut(data / IMAGE, 1000),
        NO_IMAGE % 1000,
        (("image damaged", "source", 1),),
    ),
    DataCase(
        "image of zero bytes",
        lambda data: put(data, IMAGE, b""),
        "cannot read image file {data}/source/images/1.png: it is empty (0 bytes); fetch it again, "
        "or remove it",
        (("image empty", "source", 1),),
    ),
    DataCase(
        "error page in place of an image",
        lambda data: put(data, IMAGE, b"<html>404"),
        NO_IMAGE % 9,
        (("image damaged", "source", 1),),
    ),
    DataCase(
        "image of 10^10 pixels",
        lambda data: monstrous_png(data / IMAGE),
        NO_IMAGE % 66,
        (("image damaged", "source", 1),),
    ),
    DataCase(
        "damaged inside",
        lambda data: patchy_jpeg(data / "target/images/1.png"),
        found=(("image patchy", "target", 1),),
    ),
    DataCase(
        "16-bit colour image",
        lambda data: twelve_bits(data / IMAGE, 3),
        DEEP,
        (("image deep", "source", 1),),
    ),
    DataCase(
        "16-bit grey image",
        lambda data: twelve_bits(data / IMAGE, 1),
        DEEP,
        (("image deep", "source", 1),),
    ),
    DataCase(
        "grey image",
        lambda data: again(data / IMAGE, "L"),
        found=(("image grey", "source", 1),),
    ),
    DataCase(
        "RGBA image",
        lambda data: again(data / IMAGE, "RGBA"),
        found=(("image alpha", "source", 1),),
    ),
    DataCase(
        "CMYK image",
        lambda data: again(data / IMAGE, "CMYK", ".jpg"),
        found=(("image cmyk", "source", 1),),
    ),
    DataCase("palette image", lambda data: again(data / IMAGE, "P")),
    DataCase(
        "EXIF orientation of a target image",
        lambda data: again(data / "target/images/1.png", "RGB", ".jpg", exif=orientation(6)),
        found=(("image orientation", "target", 1),),
    ),
    DataCase(
        "label drawn on the image as EXIF turns it",
        upright_label,
        "image and label differ in size (height, width): {data}/source/images/1.jpg is (32, 64), "
        "{data}/source/labels/1.png is (64, 32); they must show the same pixels. The image notes "
        "an EXIF orientation, which is not applied: turn its pixels, or draw the label on them as "
        "they are stored",
        (("image orientation", "source", 1), ("label size", "source", 1)),
    ),
    DataCase(
        "label drawn on the image as stored",
        label_on_stored_pixels,
        found=(("image orientation", "source", 1),),
    ),
    DataCase(
        "TIFF image with an orientation",
        lambda data: again(data / IMAGE, "RGB", ".tif", tiffinfo=orientation(6)),
        "image file {data}/source/images/1.tif is a TIFF with an orientation, which readers turn "
        "but labels are not; turn its pixels and save it without one, or as PNG",
        (("image turned", "source", 1),),
        options={f"{SOURCE}.image_suffix": SUFFIXES},
    ),
    DataCase(
        "image that must not be read",
        lambda data: None,
        "cannot read image file {data}/source/images/1.png: permission denied; give yourself the "
        "right to read it",
        (("closed file", "source", 1),),
        forbidden=IMAGE,
    ),
]
LABELS = [
    DataCase(
        "label cut off",
        lambda data: cut(data / LABEL, 60),
        NO_LABEL % "image file is truncated",
        (("label damaged", "source", 1),),
    ),
    DataCase(
        "label of zero bytes",
        lambda data: put(data, LABEL, b""),
        NO_LABEL % "it is empty (0 bytes)",
        (("label damaged", "source", 1),),
    ),
    DataCase(
        "text in place of a label",
        lambda data: put(data, LABEL, b"no image"),
        NO_LABEL % "not an image",
        (("label damaged", "source", 1),),
    ),
    DataCase(
        "label that must not be read",
        lambda data: None,
        "cannot read label file {data}/source/labels/1.png: permission denied; give yourself the "
        "right to read it",
        (("closed file", "source", 1),),
        forbidden=LABEL,
    ),
    DataCase(
        "label of another size",
        lambda data: save(data / LABEL, ids(data / LABEL)[:60]),
        "image and label differ in size (height, width): {data}/source/images/1.png is (64, 64), "
        "{data}/source/labels/1.png is (60, 64); they must show the same pixels",
        (("label size", "source", 1),),
    ),
    DataCase(
        "label in colour",
        lambda data: in_colour(data, 3),
        ONE_CHANNEL % "(64, 64, 3)",
        (("label form", "source", 1),),
    ),
    DataCase(
        "label with alpha",
        lambda data: in_colour(data, 4),
        ONE_CHANNEL % "(64, 64, 4)",
        (("label form", "source", 1),),
    ),
    DataCase(
        "label of floating-point numbers",
        of_floats,
        "label file {data}/source/labels/1.png holds float32 numbers; wanted class ids, which are "
        "whole numbers: save it as a PNG of one channel",
        (("label form", "source", 1),),
    ),
    DataCase(
        "JPEG label",
        lambda data: save(data / LABEL, ids(data / LABEL), format="JPEG"),
        "label file {data}/source/labels/1.png is a JPEG, whose compression changes ids; make the "
        "labels again as PNG from what they came from",
        (("label jpeg", "source", 1),),
    ),
    DataCase(
        "TIFF label of JPEG compression",
        lambda data: save(data / LABEL, ids(data / LABEL), format="TIFF", compression="jpeg"),
        "label file {data}/source/labels/1.png is a TIFF of JPEG compression, whose compression "
        "changes ids; make the labels again as PNG from what they came from",
        (("label jpeg", "source", 1),),
    ),
    DataCase(
        "grey label of 4 bits",
        lambda data: put(data, LABEL, grey_png(ids(data / LABEL), 4)),
        "label file {data}/source/labels/1.png holds grey of another range than 8 or 16 bits, "
        "which readers stretch and so change ids; save it as a PNG of 8 bits",
        (("label form", "source", 1),),
    ),
    DataCase(
        "label with a flipped bit",
        lambda data: other_checksum(data / LABEL),
        NO_LABEL % "the part at byte 33 does not fit its checksum",
        (("label damaged", "source", 1),),
    ),
    DataCase(
        "TIFF label with an orientation",
        lambda data: save(data / LABEL, ids(data / LABEL), format="TIFF", tiffinfo=orientation(3)),
        "label file {data}/source/labels/1.png is a TIFF with an orientation, which readers turn "
        "but images are not; turn its pixels and save it without one, or as PNG",
        (("label turned", "source", 1),),
    ),
    DataCase(
        "id outside the classes",
        lambda data: change(data / LABEL, 9),
        "label file {data}/source/labels/1.png holds id 9 (64 pixels), wanted train ids 0..2 or "
        "255 (ignore); give the data set a label_map={{raw id: train id}}, all its classes, or "
        "unmapped='ignore'",
        (("label ids", "source", 1),),
    ),
    DataCase(
        "id outside the label map",
        lambda data: change(data / "val/labels/1.png", 7),
        "label file {data}/val/labels/1.png holds id 7 (64 pixels), which label_map does not name "
        "(it names [0, 1, 2]); add it (255 = ignore) or set unmapped='ignore'",
        (("label ids", "validation", 1),),
        options={"val_dataloader.dataset.label_map": {0: 0, 1: 1, 2: 2}},
    ),
    DataCase(
        "ids beyond 16 bits",
        lambda data: save(data / LABEL, ids(data / LABEL).astype(np.int32) + 70_000, format="TIFF"),
        "label file {data}/source/labels/1.png: ids 70000..70002 exceed 0..65535",
        (("label ids", "source", 1), ("label void", "source", 1)),
    ),
    DataCase(
        "id to be ignored",
        lambda data: change(data / LABEL, 9),
        options={f"{SOURCE}.unmapped": "ignore"},
    ),
    DataCase(
        "16-bit label of the same ids",
        lambda data: save(data / LABEL, ids(data / LABEL).astype(np.uint16)),
    ),
    DataCase(
        "label of nothing but 255",
        lambda data: change(data / LABEL, 255, slice(None)),
        found=(("label void", "source", 1),),
    ),
    DataCase(
        "label map of another numbering",
        lambda data: None,
        found=(
            ("label void", "source", 4),
            ("mostly ignored", "source", 0),
            ("class absent", "source", 0),
        ),
        options={f"{SOURCE}.label_map": {7: 0, 8: 1, 11: 2}, f"{SOURCE}.unmapped": "ignore"},
    ),
]
