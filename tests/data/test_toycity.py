"""ToyCity: the same images on every call, both domains complete, both layouts right."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from uda.commands import make_toycity
from uda.data.toycity import Style, render, write_toycity
from uda.data.toycity.camera import Camera
from uda.data.toycity.canvas import Canvas
from uda.data.toycity.png import PALETTE, encode_palette, encode_rgb
from uda.data.toycity.sheet import colour_label, contact_sheet
from uda.data.toycity.textures import TILE, crop_tile, fractal_noise, texture_bank
from uda.data.toycity.writer import LABEL_IDS

SMALL = (96, 128)
STYLES = (Style.source(), Style.target())
# road, sidewalk, building, fence, pole, sign, vegetation, sky, person, rider, car
CAMVID_CLASSES = (0, 1, 2, 4, 5, 7, 8, 10, 11, 12, 13)


def _digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set, written in this process."""
    root = tmp_path_factory.mktemp("data") / "city"
    return write_toycity(root, num_source=5, num_target=3, num_val=2, size=SMALL, workers=1)


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_render_deterministic(style: Style) -> None:
    """Two calls give the same bytes; another index, seed or style gives others."""
    image, label = render(3, 5, style, SMALL)
    again, label_again = render(3, 5, style, SMALL)
    assert np.array_equal(image, again)
    assert np.array_equal(label, label_again)
    assert not np.array_equal(image, render(3, 6, style, SMALL)[0])
    assert not np.array_equal(image, render(4, 5, style, SMALL)[0])


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    index=st.integers(0, 2**31),
    style=st.sampled_from(STYLES),
    height=st.integers(64, 150),
    width=st.integers(64, 200),
)
def test_render_properties(seed: int, index: int, style: Style, height: int, width: int) -> None:
    """Every seed and size gives a full image and a label of known classes, no pixel unlabelled."""
    image, label = render(seed, index, style, (height, width))
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert label.shape == (height, width)
    assert label.dtype == np.uint8
    assert label.max() <= 18


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
def test_render_classes(style: Style) -> None:
    """Over 60 images each CamVid class occurs in several, and most Cityscapes classes in some."""
    present = np.zeros(19, int)
    for index in range(60):
        present += np.bincount(render(0, index, style, SMALL)[1].ravel(), minlength=19) > 0
    assert min(present[list(CAMVID_CLASSES)]) >= 3
    assert (present > 0).sum() >= 17


def test_render_domains_differ() -> None:
    """The target is darker than the source by a third at least, on average over 20 images."""
    means = [np.mean([render(0, i, style, SMALL)[0].mean() for i in range(20)]) for style in STYLES]
    assert means[1] < 0.67 * means[0]


def test_render_errors() -> None:
    """Negative numbers and thumbnails are refused."""
    with pytest.raises(ValueError, match="seed and index must be >= 0, got seed -1"):
        render(-1, 0, Style.source())
    with pytest.raises(ValueError, match=r"at least \(64, 64\).*got \(32, 128\)"):
        render(0, 0, Style.source(), (32, 128))


def test_camera_values() -> None:
    """f = 300, 10 m away: 30 pixels a metre; a bend of 0.01 shifts by 0.01 * 10^2 = 1 m."""
    camera = Camera(320, 240, 300.0, 160.0, 120.0, 1.5, curve=0.01)
    pixels = camera.project([[0.0, 0.0, 10.0], [2.0, 1.5, 10.0]])
    assert pixels == pytest.approx(np.array([[190.0, 165.0], [250.0, 120.0]]))
    assert camera.foot(0.0, 10.0) == pytest.approx((190.0, 165.0))
    first, depth = camera.ground_rows()
    assert first == 121
    assert depth[44] == pytest.approx(300 * 1.5 / 45.5)  # row 165 has its middle at 165.5


def test_canvas_values() -> None:
    """A square covers its pixels in image and label; a railing's gaps are labelled, not painted."""
    canvas = Canvas(20, 20)
    square = [(4, 4), (10, 4), (10, 10), (4, 10)]
    canvas.polygon(square, (200, 100, 50), 13)
    assert canvas.image[7, 7].tolist() == [200, 100, 50]
    assert canvas.label[7, 7] == 13
    assert canvas.label[15, 15] == 255
    clear = np.zeros((8, 8, 4), np.uint8)
    canvas.plane(np.array(square, float), clear, 4)
    assert canvas.image[7, 7].tolist() == [200, 100, 50]
    assert canvas.label[7, 7] == 4
    canvas.plane(np.array(square, float), clear, 8, solid=False)
    assert canvas.label[7, 7] == 4


def test_noise_values() -> None:
    """Mean 0, standard deviation 1, and neighbours across the seam alike (it is a torus)."""
    tile = fractal_noise(np.random.default_rng(0), 1.7, 64)
    assert abs(float(tile.mean())) < 1e-3
    assert float(tile.std()) == pytest.approx(1.0, abs=1e-3)
    inner = np.abs(np.diff(tile, axis=1)).mean()
    assert np.abs(tile[:, 0] - tile[:, -1]).mean() < 2 * inner
    big = crop_tile(texture_bank("game").soft, np.random.default_rng(1), (900, 20))
    assert np.array_equal(big[:100], big[TILE : TILE + 100])
    with pytest.raises(ValueError, match="family must be one of .*got 'oil'"):
        texture_bank("oil")


def test_png_values() -> None:
    """Palette indices are the ids, colours Cityscapes' own; RGB survives the round trip."""
    label = np.arange(19, dtype=np.uint8).reshape(1, 19)
    decoded = cv2.imdecode(np.frombuffer(encode_palette(label), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded[0, :, ::-1], PALETTE)
    image = render(0, 0, Style.source(), SMALL)[0]
    decoded = cv2.imdecode(np.frombuffer(encode_rgb(image), np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded[:, :, ::-1], image)
    assert np.array_equal(colour_label(label)[0], PALETTE)


def test_write_layout(city: Path) -> None:
    """GTA5 and Cityscapes names, labelIds that map to the trainIds, no target train labels."""
    names = set(_digest(city))
    stem = "toycity_000001_000019"
    assert "gta5/images/00005.png" in names
    assert f"cityscapes/leftImg8bit/train/toycity/{stem}_leftImg8bit.png" in names
    assert f"cityscapes/gtFine/val/toycity/{stem}_gtFine_labelIds.png" in names
    assert not [name for name in names if "gtFine/train" in name]
    assert len(names) == 5 * 3 + 3 + 2 * 3 + 2
    ids = Image.open(city / "gta5/labels/00002.png")
    train_ids = Image.open(city / "gta5/labels/00002_labelTrainIds.png")
    assert (ids.mode, train_ids.mode) == ("P", "P")
    assert np.array_equal(np.asarray(ids), LABEL_IDS[np.asarray(train_ids)])
    image, label = render(0, 1, Style.source(), SMALL)
    assert np.array_equal(np.asarray(Image.open(city / "gta5/images/00002.png")), image)
    assert np.array_equal(np.asarray(train_ids), label)


def test_write_statistics(city: Path) -> None:
    """The statistics name every source label and count all of its pixels."""
    from uda.data.statistics import ClassStatistics

    statistics = ClassStatistics.load(city / "gta5/class_statistics.json", num_classes=19)
    assert list(statistics.files) == [f"{n:05d}_labelTrainIds.png" for n in range(1, 6)]
    assert statistics.counts.sum(axis=1).tolist() == [SMALL[0] * SMALL[1]] * 5


def test_write_workers(city: Path, tmp_path: Path) -> None:
    """Two processes write the same bytes as one; the digest in the record agrees."""
    sizes = {"num_source": 12, "num_target": 4, "num_val": 2, "size": (64, 96)}
    one = write_toycity(tmp_path / "one", workers=1, **sizes)
    two = write_toycity(tmp_path / "two", workers=2, **sizes)
    assert _digest(one) == _digest(two)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]  # no partial folder left


def test_write_reuse(city: Path) -> None:
    """The same settings leave every file alone; a lost record or other settings are refused."""
    before = {path: path.stat().st_mtime_ns for path in city.rglob("*")}
    options = {"num_source": 5, "num_target": 3, "num_val": 2, "size": SMALL}
    assert write_toycity(city, **options) == city
    assert {path: path.stat().st_mtime_ns for path in city.rglob("*")} == before
    with pytest.raises(FileExistsError, match=r"other settings \(seed 0 there, 1 wanted\); delete"):
        write_toycity(city, seed=1, **options)


def test_write_one_domain(tmp_path: Path) -> None:
    """A domain without images has no folder; what is there is the same as in the whole set."""
    both = write_toycity(
        tmp_path / "both", num_source=1, num_target=1, num_val=1, size=(64, 96), workers=1
    )
    none = {"num_source": 0, "num_target": 0, "num_val": 0, "size": (64, 96), "workers": 1}
    for part, domain in (("source", "gta5"), ("target", "cityscapes"), ("val", "cityscapes")):
        alone = write_toycity(tmp_path / part, **{**none, f"num_{part}": 1})
        assert sorted(path.name for path in alone.iterdir()) == sorted([domain, "toycity.json"])
        assert _digest(alone / domain).items() <= _digest(both / domain).items()
        assert write_toycity(tmp_path / part, **{**none, f"num_{part}": 1}) == alone
        with pytest.raises(FileExistsError, match=r"other settings \(num_.* delete the folder or"):
            write_toycity(tmp_path / part, num_source=1, num_target=1, num_val=1, size=(64, 96))
    assert not (tmp_path / "val/cityscapes/leftImg8bit/train").exists()


def test_write_errors(tmp_path: Path) -> None:
    """Foreign folders, files and impossible numbers are refused with the path or the value."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photo.png").write_bytes(b"keep")
    with pytest.raises(FileExistsError, match=r"mine holds other files \(no toycity.json"):
        write_toycity(tmp_path / "mine")
    (tmp_path / "mine/toycity.json").write_text("{", encoding="utf-8")
    with pytest.raises(FileExistsError, match="toycity.json cannot be read"):
        write_toycity(tmp_path / "mine")
    with pytest.raises(FileExistsError, match="photo.png is a file"):
        write_toycity(tmp_path / "mine/photo.png")
    with pytest.raises(ValueError, match="num_val must be an integer >= 0, got -1"):
        write_toycity(tmp_path / "new", num_val=-1)
    with pytest.raises(ValueError, match="num_val are all 0; nothing to do"):
        write_toycity(tmp_path / "new", num_source=0, num_target=0, num_val=0)
    with pytest.raises(ValueError, match="seed must be >= 0, got -2"):
        write_toycity(tmp_path / "new", seed=-2)
    with pytest.raises(ValueError, match="size must be at least"):
        write_toycity(tmp_path / "new", size=(20, 400))
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet(rows=0)


def test_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tool writes folder and sheet, and reports an error without a traceback."""
    sheet = tmp_path / "sheet.png"
    sizes = ["--source", "1", "--target", "1", "--val", "1", "--size", "96x64", "--workers", "1"]
    root = str(tmp_path / "city")
    assert make_toycity.main([root, *sizes, "--style-sheet", str(sheet)]) == 0
    assert Image.open(sheet).size == (4 * 96, 6 * 64)
    record = json.loads((tmp_path / "city/toycity.json").read_text(encoding="utf-8"))
    assert record["settings"]["size"] == [64, 96]
    assert make_toycity.main([root, *sizes, "--seed", "3"]) == 1
    error = capsys.readouterr().err
    assert "delete the folder or choose another" in error
    assert error.count("\n") == 1
    alone = [str(tmp_path / "alone"), *sizes, "--target", "0", "--val", "0"]
    assert make_toycity.main([*alone, "--style-sheet", root]) == 1  # a folder, no PNG
    assert f"error: cannot write {root}: is a directory" in capsys.readouterr().err
    assert not (tmp_path / "alone/cityscapes").exists()
    with pytest.raises(SystemExit):
        make_toycity.parser().parse_args([root, "--size", "big"])
    assert "size must be WIDTHxHEIGHT" in capsys.readouterr().err
