"""Label conventions: the tables, the three ways of reading, and files that break them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from uda.data.class_tables import (
    CAMVID_CLASSES,
    CAMVID_IDS,
    CAMVID_PALETTE,
    CITYSCAPES_CLASSES,
    CITYSCAPES_PALETTE,
    CITYSCAPES_TO_ROBOTCAR,
    ROBOTCAR_CLASSES,
    ROBOTCAR_IDS,
    ROBOTCAR_PALETTE,
)
from uda.data.conventions import (
    CAMVID,
    CAMVID_COLOUR,
    CARLA,
    CITYSCAPES,
    GTA5,
    SYNTHIA,
    LabelConvention,
    to_train_ids,
)


def save(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array).save(path)
    return path


def test_style_folders_give_the_same_train_ids(shared: Path) -> None:
    """Three encodings of three frames, whose right answer lies beside the third."""
    samples = shared / "data" / "samples"
    fine = samples / "cityscapes_style" / "gtFine" / "val" / "camvid"
    for frame in range(3):
        stem = f"camvid_{frame:06d}_000019_gtFine_"
        right = np.asarray(Image.open(fine / f"{stem}labelTrainIds.png"))
        gta = to_train_ids(samples / f"gta5_style/labels/{frame + 1:05d}.png", GTA5)
        synthia = to_train_ids(samples / f"synthia_style/GT/LABELS/{frame:07d}.png", SYNTHIA)
        cityscapes = to_train_ids(fine / f"{stem}labelIds.png", CITYSCAPES)
        for train_ids in (gta, synthia, cityscapes):
            assert train_ids.dtype == np.uint8
            assert np.array_equal(train_ids, right)


def test_real_cityscapes_frame(shared: Path) -> None:
    """Its two label images were shrunk apart, so 77 of the 32,768 pixels (at borders) differ."""
    stem = shared / "data/samples/cityscapes_mmseg/frankfurt_000000_000294_gtFine_"
    right = np.asarray(Image.open(f"{stem}labelTrainIds.png"))
    assert (to_train_ids(f"{stem}labelIds.png", CITYSCAPES) != right).sum() == 77


def test_real_carla_frames(shared: Path) -> None:
    """Every colour is in the table; black and "other" are the only ones that are ignored."""
    path = shared / "data/samples/carla_colour/00183310_seg.png"
    train_ids = to_train_ids(path, CARLA)
    rgb = np.asarray(Image.open(path))[..., :3]
    ignored = {tuple(colour) for colour in rgb[train_ids == 255].tolist()}
    assert ignored == {(0, 0, 0), (250, 170, 160)}
    assert (train_ids == 13).sum() == 206760  # vehicle pixels, counted by colour


def test_camvid_pack(shared: Path) -> None:
    """The pack's ids read by colour or by number end in the same Cityscapes classes."""
    path = sorted((shared / "data/camvid_day2dusk/source/labels/train").glob("*.png"))[0]
    by_id = to_train_ids(path, CAMVID)
    assert set(np.unique(by_id)) <= {*CAMVID_IDS.values()}


def test_tables_agree() -> None:
    """The 19 names, colours and tables belong together; licence plates exist in GTA5 only."""
    assert len(CITYSCAPES_CLASSES) == len(CITYSCAPES_PALETTE) == 19
    assert len(CAMVID_CLASSES) == len(CAMVID_PALETTE) == 11
    assert sorted(v for v in CITYSCAPES.ids.values() if v != 255) == list(range(19))
    assert sorted(v for v in SYNTHIA.ids.values() if v != 255) == list(range(19))
    assert GTA5.ids == {**CITYSCAPES.ids, 34: 255}
    assert sorted(CITYSCAPES.ids) == list(range(34))
    assert sorted(SYNTHIA.ids) == list(range(23))
    assert len(CARLA.colours) == 13
    # 32 colours of the original annotation and the sidewalk of the 11-class palette.
    assert len(CAMVID_COLOUR.colours) == 33
    assert [CAMVID_COLOUR.colours[c] for c in CAMVID_PALETTE] == [CAMVID_IDS[k] for k in range(11)]
    assert [c.num_classes for c in (GTA5, SYNTHIA, CITYSCAPES)] == [19, 19, 19]


def test_gta5_palette_is_read_as_indices(tmp_path: Path) -> None:
    """Colours of the palette mean nothing: 26 is car (13) though its entry is grey."""
    image = Image.new("P", (3, 1))
    image.putpalette([128, 128, 128] * 256)
    image.putdata([26, 7, 34])
    image.save(tmp_path / "a.png")
    assert to_train_ids(tmp_path / "a.png", GTA5).tolist() == [[13, 0, 255]]


def test_synthia_class_is_the_red_channel(tmp_path: Path) -> None:
    """cv2 writes and reads BGR: blue 0, green = instance 400, red = class 8 (car, 13)."""
    pixel = np.array([[[0, 400, 8], [0, 1, 22]]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), pixel)
    assert to_train_ids(tmp_path / "a.png", SYNTHIA).tolist() == [[13, 255]]


def test_alpha_is_dropped(tmp_path: Path) -> None:
    pixel = np.array([[[70, 70, 70, 0]]], dtype=np.uint8)
    assert to_train_ids(save(tmp_path / "a.png", pixel), CARLA).tolist() == [[2]]


@given(st.lists(st.integers(0, 33) | st.just(255), min_size=1, max_size=40))
def test_conversion_properties(tmp_path_factory: pytest.TempPathFactory, ids: list[int]) -> None:
    """Each pixel follows the table by itself, whatever its neighbours."""
    path = tmp_path_factory.mktemp("ids") / "a.png"
    save(path, np.array([ids], dtype=np.uint8))
    assert to_train_ids(path, CITYSCAPES).tolist() == [[CITYSCAPES.ids.get(i, 255) for i in ids]]


def test_ids_beyond_16_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 70000]], dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a.tif: ids 7..70000 exceed 0..65535"):
        to_train_ids(tmp_path / "a.tif", CITYSCAPES)


def test_unknown_values(tmp_path: Path) -> None:
    ids = save(tmp_path / "ids.png", np.array([[40, 40, 41, 7]], dtype=np.uint8))
    with pytest.raises(
        ValueError, match=r"ids.png: id 40 \(2 pixels; 1 more unknown values\).*Cityscapes"
    ):
        to_train_ids(ids, CITYSCAPES)
    assert to_train_ids(ids, CITYSCAPES, unknown="ignore").tolist() == [[255, 255, 255, 0]]
    colours = save(tmp_path / "rgb.png", np.array([[[1, 2, 3]]], dtype=np.uint8))
    with pytest.raises(
        ValueError, match=r"rgb.png: colour \(1, 2, 3\) \(1 pixels\) is not defined"
    ):
        to_train_ids(colours, CARLA)
    assert to_train_ids(colours, CARLA, unknown="ignore").tolist() == [[255]]
    with pytest.raises(ValueError, match="unknown must be 'error' or 'ignore', got 'drop'"):
        to_train_ids(ids, CITYSCAPES, unknown="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("convention", [GTA5, SYNTHIA, CARLA], ids=lambda c: c.kind)
def test_missing_and_damaged_files(tmp_path: Path, convention: LabelConvention) -> None:
    with pytest.raises(FileNotFoundError, match=r"label file not found: .*gone.png"):
        to_train_ids(tmp_path / "gone.png", convention)
    noise = np.random.default_rng(0).integers(0, 9, (64, 64, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "half.png"), noise)
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:900])
    (tmp_path / "empty.png").touch()
    for name in ("half.png", "empty.png"):
        with pytest.raises(ValueError, match=f"cannot read label file .*{name}"):
            to_train_ids(tmp_path / name, convention)


def test_files_of_another_kind(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.png", np.zeros((2, 2), dtype=np.uint8))
    colour = save(tmp_path / "colour.png", np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"grey.png is of mode L; wanted colours"):
        to_train_ids(grey, CARLA)
    with pytest.raises(ValueError, match=r"colour.png has shape .* wanted one channel"):
        to_train_ids(colour, GTA5)
    with pytest.raises(ValueError, match=r"colour.png is uint8 .*GT/LABELS, not GT/COLOR"):
        to_train_ids(colour, SYNTHIA)


def test_convention_errors() -> None:
    with pytest.raises(ValueError, match="'mine': kind must be ids, colours or synthia16, got 'x'"):
        LabelConvention(name="mine", kind="x", ids={0: 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'mine': its table of colours is empty"):
        LabelConvention(name="mine", kind="colours", ids={0: 0})
    with pytest.raises(ValueError, match=r"'mine': train id 256 is not in 0..255"):
        LabelConvention(name="mine", kind="ids", ids={0: 256})


def test_robotcar_values() -> None:
    """Names, colours and both tables speak of the same nine classes, by Cityscapes' names too."""
    assert len(ROBOTCAR_CLASSES) == len(ROBOTCAR_PALETTE) == 9
    for table in (ROBOTCAR_IDS, CITYSCAPES_TO_ROBOTCAR):
        assert {v for v in table.values() if v != 255} == set(range(9))
    assert set(CITYSCAPES_TO_ROBOTCAR) == set(range(19))
    for name, colour in zip(CITYSCAPES_CLASSES, CITYSCAPES_PALETTE, strict=True):
        if name in ROBOTCAR_CLASSES:
            train_id = ROBOTCAR_CLASSES.index(name)
            assert CITYSCAPES_TO_ROBOTCAR[CITYSCAPES_CLASSES.index(name)] == train_id
            assert ROBOTCAR_PALETTE[train_id] == colour
