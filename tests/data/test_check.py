"""The parts of the data check; what it finds as a whole stands in `tests/test_bad_input.py`."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image
from rich.console import Console

import uda.data.registration  # noqa: F401
from tests.data.folders import CLASSES, write_domain, write_image
from uda.data.check.files import check_image, decoder_messages
from uda.data.check.findings import Finding, Looked, Report, of_set
from uda.data.check.pairs import Pair, Reading, check_pair
from uda.data.check.run import check_sets
from uda.data.check.sets import SetToCheck
from uda.data.check.sizes import crop_of, smallest
from uda.data.check.table import print_report
from uda.data.file_tree import files_below

READING = Reading(None, 3, "error")
RESIZES = [
    {"type": "Resize", "scale": (60, 40), "keep_ratio": True},
    {"type": "Resize", "scale": (40, 60), "keep_ratio": True},
    {"type": "Resize", "scale": (60, 40), "keep_ratio": False},
    {"type": "Resize", "scale_factor": 0.7},
    {"type": "RandomResize", "scale": (80, 50), "ratio_range": (0.5, 0.5), "keep_ratio": True},
    {"type": "RandomResize", "scale": [(80, 50), (80, 50)], "keep_ratio": True},
]


@pytest.mark.parametrize("step", RESIZES, ids=str)
@pytest.mark.parametrize("size", [(30, 50), (51, 33)])
def test_smallest_equals_the_transforms(step: dict[str, Any], size: tuple[int, int]) -> None:
    """The size as computed is that of an image on its way, for steps that leave no chance."""
    results = {"img": np.zeros((*size, 3), np.uint8), "img_shape": size}
    assert smallest(size, [step]) == TRANSFORMS.build(step)(results)["img"].shape[:2]


def test_smallest_of_chance_and_of_unknown_steps() -> None:
    """The lowest factor counts; a step that may do anything makes the size unknown."""
    drawn = {"type": "RandomResize", "scale": (100, 80), "ratio_range": (0.5, 2.0)}
    assert smallest((9, 9), [drawn]) == (40, 50)
    between = {"type": "RandomResize", "scale": [(100, 40), (60, 80)]}
    assert smallest((9, 9), [between]) == (40, 60)
    assert smallest((9, 9), [{"type": "Albumentations", "transforms": []}]) is None
    assert crop_of([drawn, {"type": "RandomCrop", "crop_size": 8}]) == ([drawn], (8, 8))
    assert crop_of([drawn]) is None


def test_decoder_messages_are_caught_and_the_stream_is_given_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with decoder_messages() as lines:
        os.write(2, b"told by a library\n")
    print("told afterwards", file=sys.stderr)
    assert lines == ["told by a library"]
    assert capfd.readouterr().err == "told afterwards\n"


def test_decoder_messages_without_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no such stream, nothing is caught and nothing fails."""

    def closed(_: int) -> int:
        raise OSError("bad file descriptor")

    monkeypatch.setattr(os, "dup", closed)
    with decoder_messages() as lines:
        pass
    assert lines == []


def test_few_bytes_left_over_are_no_damage(tmp_path: Path) -> None:
    """As some cameras write: bytes between the picture data and the end of the file."""
    path = tmp_path / "a.jpg"
    Image.fromarray(np.full((16, 16, 3), 80, np.uint8)).save(path)
    content = path.read_bytes()
    for count, kinds in ((4, []), (200, ["image patchy"])):
        path.write_bytes(content[:-2] + bytes(count) + content[-2:])
        size, found = check_image(str(path))
        assert size == (16, 16)
        assert [observation.kind for observation in found] == kinds


def test_counts_in_spite_of_unknown_ids(tmp_path: Path) -> None:
    """Row 0 holds an unknown id (7 pixels), rows 1 and 2 class 1: 14 pixels, 7 ignored."""
    image = write_image(tmp_path / "i.png", np.zeros((3, 7, 3), np.uint8))
    label = write_image(tmp_path / "l.png", np.array([[9] * 7, [1] * 7, [1] * 7], np.uint8))
    check = check_pair(Pair(str(image), str(label), READING))
    assert [(o.kind, o.ids) for o in check.observations] == [("label ids", (9,))]
    assert check.counts is not None
    assert check.counts.tolist() == [0, 14, 0]
    assert (check.ignored, check.unnamed, check.size) == (7, (9,), (3, 7))


def test_odd_errors_and_vanished_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes away meanwhile, a folder in its place, and what nobody thought of."""
    gone = check_pair(Pair(str(tmp_path / "gone.png"), None, READING))
    assert [o.kind for o in gone.observations] == ["vanished"]
    folder = check_pair(Pair(str(tmp_path), None, READING))
    assert [o.kind for o in folder.observations] == ["unreadable"]

    def odd(_: str) -> None:
        raise RuntimeError("what nobody thought of")

    monkeypatch.setattr("uda.data.check.pairs.check_image", odd)
    (seen,) = check_pair(Pair("a.png", None, READING)).observations
    assert (seen.kind, seen.told) == ("unexpected", "RuntimeError: what nobody thought of")


def test_data_set_of_another_library(tmp_path: Path) -> None:
    """mmseg's own are built and their files read; ids are left to their own rules."""
    write_domain(tmp_path, 2)
    config = {
        "type": "BaseSegDataset",
        "data_root": str(tmp_path),
        "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
        "img_suffix": ".png",
        "metainfo": {"classes": CLASSES},
        "pipeline": [],
    }
    report = check_sets([SetToCheck("validation", "validation", config)])
    assert report.looked[0].images == report.looked[0].labels == 2
    assert report.findings == []
    (tmp_path / "labels/001.png").unlink()
    cv2.imwrite(str(tmp_path / "labels/000.png"), np.zeros((5, 5), np.uint8))
    report = check_sets([SetToCheck("validation", "validation", config)])
    assert [(f.kind, len(f.files)) for f in report.findings] == [("vanished", 1), ("label size", 1)]
    config["type"] = "NoSuchDataset"
    (finding,) = check_sets([SetToCheck("validation", "validation", config)]).findings
    assert finding.kind == "not built"
    assert "NoSuchDataset" in finding.text


def test_table_says_it_all() -> None:
    """Errors first, number of files, first file, what to do; names that no stream can print."""
    report = Report(
        looked=[Looked("source", images=3, labels=2, checked=3)],
        findings=[
            of_set("target", "one image"),
            Finding(
                "error", "image empty", "source", "images of 0 bytes", "fetch", ("a\udce9", "b")
            ),
        ],
    )
    report.sort()
    console = Console(width=70, record=True, file=io.StringIO())
    print_report(report, console)
    text = console.export_text()
    assert "source: 3 images and 2 labels" in text
    assert "first: a\\udce9" in text
    assert "to do: fetch" in text
    assert text.index("images of 0 bytes") < text.index("there is one image only")
    assert text.splitlines()[-1] == "1 error, 1 warning"


def test_files_below_follows_links_once(tmp_path: Path) -> None:
    """Hidden files are passed over, two links to one folder are both followed, a circle is not."""
    for name in ("a/1.png", "a/.hidden.png", ".hidden/2.png"):
        write_image(tmp_path / "root" / name, np.zeros((2, 2), np.uint8))
    for link in ("b", "c"):
        os.symlink(tmp_path / "root/a", tmp_path / "root" / link)
    os.symlink(tmp_path / "root", tmp_path / "root/a/up")
    os.symlink("gone", tmp_path / "root/a/broken.png")
    tree = files_below(tmp_path / "root")
    assert sorted(tree.names) == [f"{f}/{n}" for f in "abc" for n in ("1.png", "broken.png")]
    assert tree.broken == {f"{f}/broken.png" for f in "abc"}
