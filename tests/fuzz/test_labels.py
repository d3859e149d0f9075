"""Label and image files: damaged, of any format and mode, with any ids and tables."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from tests.bad_input.files import grey_png
from uda.data.check.files import decoder_messages
from uda.data.conventions import CAMVID_COLOUR, GTA5, SYNTHIA, LabelConvention, to_train_ids
from uda.data.images import ImageFileError, decode_image
from uda.data.label_conversion import encode_label
from uda.data.labels import LabelFileError, decode_label, label_items, train_ids
from uda.data.statistics import count_label

from .bounded import bounded, flipped, spoiled
from .pictures import IDS, encoded, files, indexed, picture

PATH = Path("labels") / "a.png"
FILES = files(
    "PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM", "WEBP", "JPEG2000", "TGA", "PCX", "AVIF", "DDS"
)
TABLES = st.dictionaries(st.integers(0, 300), st.integers(0, 18) | st.just(255), max_size=40)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Decoders complain on standard error and by warnings, a thousand times over."""
    with warnings.catch_warnings(), decoder_messages():
        warnings.simplefilter("ignore")
        yield


def ids_or_none(content: bytes) -> Any:
    """What a label file holds; None where it is refused as documented, by name."""
    try:
        ids = decode_label(content, PATH)
    except LabelFileError as error:
        assert str(PATH.absolute()) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return None
    assert ids.ndim == 2
    assert np.issubdtype(ids.dtype, np.integer)
    return ids


@pytest.mark.parametrize("kind", FILES)
@bounded(12)
@given(data=st.data())
def test_damaged_files_properties(kind: str, data: st.DataObject) -> None:
    """Ids or pixels, or the error with the path: whatever the format, mode and damage."""
    content = data.draw(spoiled(FILES[kind]))
    ids_or_none(content)
    try:
        image = decode_image(content, PATH)
    except ImageFileError as error:
        assert str(PATH.absolute()) in str(error)  # noqa: PT017
    else:
        assert image.dtype == np.uint8
        assert image.shape[2:] == (3,)


@bounded(60)
@given(start=st.sampled_from([content[:12] for content in FILES.values()]), rest=st.binary())
@example(start=b"", rest=b"")
@example(start=b"%!PS", rest=b"-Adobe")
def test_random_bytes_properties(start: bytes, rest: bytes) -> None:
    """Bytes that begin like an image, or like nothing."""
    ids_or_none(start + rest)
    ids_or_none(rest)


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind.startswith("PNG")])
@bounded(60)
@given(data=st.data())
def test_no_wrong_id_of_a_damaged_png_properties(kind: str, data: st.DataObject) -> None:
    """A PNG of any mode with damage gives the ids of the whole file, or none at all."""
    whole = ids_or_none(FILES[kind])
    damaged = ids_or_none(data.draw(spoiled(FILES[kind])))
    if damaged is not None:
        assert whole is not None
        assert np.array_equal(damaged, whole)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_each_bit_of_a_png_values(mode: str) -> None:
    """Every single flipped bit of a label: refused, or the same ids."""
    content = encoded(picture(mode).crop((0, 0, 6, 4)), "PNG")
    whole = decode_label(content, PATH)
    for place in range(8 * len(content)):
        damaged = ids_or_none(flipped(content, [divmod(place, 8)]))
        assert damaged is None or np.array_equal(damaged, whole), place


@bounded(40)
@given(
    ids=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    palette=st.binary(min_size=768, max_size=768),
)
def test_palette_properties(ids: Any, palette: bytes) -> None:
    """Of a palette image the indices count, whatever colours they have."""
    for kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode_label(encoded(indexed(ids, palette), kind), PATH), ids)


@bounded(40)
@given(
    ids=arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    bits=st.sampled_from([1, 2, 4, 8]),
)
def test_grey_of_few_bits_properties(ids: Any, bits: int) -> None:
    """Ids come as they are, or the file is refused: readers stretch 1 of 4 bits to 17."""
    ids = ids & np.uint8(2**bits - 1)
    read = ids_or_none(grey_png(ids, bits))
    assert (read is None) == (bits in (2, 4))
    assert read is None or np.array_equal(read, ids)
    pgm = b"P5 %d %d %d\n" % (ids.shape[1], ids.shape[0], 2**bits - 1) + ids.tobytes()
    read = ids_or_none(pgm)
    assert (read is None) == (bits < 8)
    assert read is None or np.array_equal(read, ids)


def test_labels_of_loss_errors() -> None:
    """Formats that change ids are refused whatever they hold, a TIFF by its compression."""
    for content in (
        encoded(picture("L"), "JPEG"),
        encoded(picture("L"), "JPEG2000"),
        encoded(picture("L"), "TIFF", compression="jpeg"),
    ):
        with pytest.raises(LabelFileError, match="a.png is a .*, whose compression changes ids"):
            decode_label(content, PATH)
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits"):
        whole = decode_label(encoded(picture("L"), "TIFF", compression=compression), PATH)
        assert np.array_equal(whole, IDS)


@bounded(150)
@given(
    raw=arrays(
        st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.int64]),
        st.tuples(st.integers(0, 5), st.integers(1, 5)),
        elements=st.integers(0, 100) | st.just(255) | st.integers(0, 255),
    ),
    table=st.none() | TABLES,
    num_classes=st.integers(1, 40),
    unmapped=st.sampled_from(["error", "ignore"]),
    shift=st.sampled_from([0, 0, 0, -300, 70_000]),
)
def test_train_ids_properties(
    raw: Any, table: dict[int, int] | None, num_classes: int, unmapped: str, shift: int
) -> None:
    """Each pixel by itself: the table's train id, 255, or an error that names its id."""
    if raw.dtype.itemsize > 2:
        raw = raw + raw.dtype.type(shift)
    named = dict.fromkeys(range(num_classes), 0) if table is None else table
    named = {i: i for i in named} if table is None else {255: 255, **named}
    named.setdefault(255, 255)
    values = sorted(set(raw.flatten().tolist()))
    outside = [value for value in values if not 0 <= value <= 65535]
    unknown = [value for value in values if value not in named]
    settings = {"items": label_items(table), "num_classes": num_classes, "unmapped": unmapped}
    if outside or (unknown and unmapped == "error"):
        with pytest.raises(LabelFileError, match="a.png") as refused:
            train_ids(raw, path=PATH, **settings)
        assert refused.value.reason == "ids"
        assert outside or list(refused.value.ids) == unknown
        return
    found = train_ids(raw, path=PATH, **settings)
    assert found.dtype == np.uint8
    assert found.tolist() == [[named.get(value, 255) for value in row] for row in raw.tolist()]


@bounded(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    table=TABLES.filter(bool),
    kind=st.sampled_from(["L", "P", "I;16"]),
    unknown=st.sampled_from(["error", "ignore"]),
)
def test_conventions_of_ids_properties(
    tmp_path: Path, seed: int, table: dict[int, int], kind: str, unknown: Any
) -> None:
    """Conversion equals a look-up pixel by pixel, and what is written is read again as it was."""
    path = tmp_path / "a.png"
    top = 300 if kind == "I;16" else 256
    ids = np.random.default_rng(seed).integers(0, top, (4, 5))
    known = sorted(set(table) & set(range(top)))
    if known and seed % 2:
        ids = np.array(known)[ids % len(known)]
    if kind == "P":
        indexed(ids.astype(np.uint8), range(768)).save(path)
    else:
        Image.fromarray(ids.astype(np.uint16 if kind == "I;16" else np.uint8)).save(path)
    convention = LabelConvention(name="mine", kind="ids", ids=table)
    named = {255: 255, **table}
    if unknown == "error" and not set(ids.flatten().tolist()) <= set(named):
        with pytest.raises(ValueError, match=r"a\.png: id \d+ .* is not defined by .* mine"):
            to_train_ids(path, convention)
        return
    found = to_train_ids(path, convention, unknown=unknown)
    assert found.tolist() == [[named.get(value, 255) for value in row] for row in ids.tolist()]
    assert np.array_equal(decode_label(encode_label(found, "mark"), path), found)
    assert count_label(found, 19).sum() == (found != 255).sum()


@pytest.mark.parametrize("convention", [GTA5, SYNTHIA, CAMVID_COLOUR], ids=lambda c: c.kind)
@bounded(60)
@given(data=st.data())
def test_conventions_of_damaged_files_properties(
    tmp_path: Path, convention: LabelConvention, data: st.DataObject
) -> None:
    """The three kinds of label files: the train ids of the whole file, or a ValueError by name."""
    path = tmp_path / "a.png"
    if convention.kind == "synthia16":
        whole = cv2.imencode(".png", np.stack([IDS * 0, IDS * 9, IDS], 2).astype(np.uint16))[1]
        content = whole.tobytes()
    elif convention.kind == "colours":
        colours = np.array(sorted(convention.colours), np.uint8)[IDS % len(convention.colours)]
        content = encoded(Image.fromarray(colours), "PNG")
    else:
        content = FILES["PNG P"]
    path.write_bytes(content)
    wanted = to_train_ids(path, convention)
    path.write_bytes(data.draw(spoiled(content)))
    try:
        found = to_train_ids(path, convention)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert np.array_equal(found, wanted)


def test_the_files_are_what_they_say_values() -> None:
    """Pillow reads each file of the table, in as many modes as Pillow wrote."""
    assert len(FILES) > 40
    for content in FILES.values():
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (10, 12)
