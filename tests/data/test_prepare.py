"""Preparing whole data sets: trees, resuming, originals, statistics, messages, the command."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uda.commands import prepare_data
from uda.data.label_conversion import MARK
from uda.data.layouts import LAYOUTS, folder_layout
from uda.data.prepare import Prepared, prepare, statistics_table
from uda.data.statistics import ClassStatistics

PROJECT = Path(__file__).resolve().parents[2]


def put(path: Path, rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(rows, dtype=np.uint8)).save(path)
    return path


def make_gta(root: Path, count: int = 2) -> Path:
    """`count` pairs of 2x2 pixels: road, road, car, unlabelled."""
    for number in range(1, count + 1):
        put(root / f"images/{number:05d}.png", np.zeros((2, 2, 3)))
        put(root / f"labels/{number:05d}.png", [[7, 7], [26, 0]])
    return root


def digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def read(path: Path) -> list[list[int]]:
    return np.asarray(Image.open(path)).tolist()


def test_gta5_values(tmp_path: Path) -> None:
    """Per image two pixels of road (0), one of car (13), one ignored."""
    root = make_gta(tmp_path)
    before = digests(root)
    done = prepare("gta5", root)
    assert read(root / "labels/00001_labelTrainIds.png") == [[0, 0], [13, 255]]
    stats = ClassStatistics.load(root / "class_statistics.json", 19)
    assert stats.files == ["00001_labelTrainIds.png", "00002_labelTrainIds.png"]
    assert stats.class_pixels[[0, 13]].tolist() == [4, 2]
    assert stats.class_pixels.sum() == 6
    assert (done.converted, done.kept) == (2, 0)
    assert "no pixel of: sidewalk, building" in done.warnings[0]
    assert before.items() <= digests(root).items()


def test_second_run_keeps_everything(tmp_path: Path) -> None:
    root = make_gta(tmp_path)
    prepare("gta5", root)
    before = {p: p.stat().st_mtime_ns for p in (root / "labels").iterdir()}
    done = prepare("gta5", root)
    assert (done.converted, done.kept) == (0, 2)
    assert before == {p: p.stat().st_mtime_ns for p in (root / "labels").iterdir()}
    assert prepare("gta5", root, force=True).converted == 2


def test_stopped_run_is_continued(tmp_path: Path) -> None:
    """One file missing, one cut short, one temporary file left: as if it never was stopped."""
    whole = make_gta(tmp_path / "whole", count=4)
    prepare("gta5", whole)
    root = make_gta(tmp_path / "stopped", count=4)
    prepare("gta5", root)
    labels = root / "labels"
    (root / "class_statistics.json").unlink()
    (labels / "00002_labelTrainIds.png").unlink()
    cut = labels / "00003_labelTrainIds.png"
    cut.write_bytes(cut.read_bytes()[:-15])
    (labels / ".00004_labelTrainIds.png.77.partial").write_bytes(b"half")
    done = prepare("gta5", root)
    assert (done.converted, done.kept) == (2, 2)
    assert sorted(digests(root).values()) == sorted(digests(whole).values())


def test_newer_original_and_changed_map_are_converted_again(tmp_path: Path) -> None:
    root = make_gta(tmp_path)
    prepare(folder_layout({7: 0, 26: 1, 0: 255}), root)
    converted = root / "labels/00001_labelTrainIds.png"
    os.utime(root / "labels/00001.png", ns=(0, converted.stat().st_mtime_ns + 10**9))
    assert prepare(folder_layout({7: 0, 26: 1, 0: 255}), root).converted == 1
    done = prepare(folder_layout({7: 2, 26: 1, 0: 0}), root)
    assert done.converted == 2
    assert read(converted) == [[2, 2], [1, 0]]


def test_files_of_another_tool_are_kept(tmp_path: Path) -> None:
    """One of the four pixels differs from our conversion: kept, counted as it is, and reported."""
    root = make_gta(tmp_path, count=1)
    foreign = put(root / "labels/00001_labelTrainIds.png", [[0, 0], [13, 13]])
    before = foreign.read_bytes()
    done = prepare("gta5", root)
    assert foreign.read_bytes() == before
    assert done.statistics is not None
    assert done.statistics.class_pixels[13] == 2
    assert "1 train id files of another tool are kept" in done.warnings[0]
    assert "at most 25.00 % of the pixels" in done.warnings[0]
    prepare("gta5", root, force=True)
    assert read(foreign) == [[0, 0], [13, 255]]
    assert MARK in Image.open(foreign).info


def test_read_only_root(tmp_path: Path) -> None:
    root = make_gta(tmp_path / "root")
    before = digests(root)
    done = prepare("gta5", root, out=tmp_path / "out")
    assert digests(root) == before
    assert done.statistics_path == tmp_path / "out/class_statistics.json"
    assert (tmp_path / "out/labels/00002_labelTrainIds.png").is_file()


def test_workers_change_nothing(tmp_path: Path) -> None:
    one, two = make_gta(tmp_path / "one", count=17), make_gta(tmp_path / "two", count=17)
    prepare("gta5", one, workers=1)
    prepare("gta5", two, workers=2)
    assert list(digests(one).values()) == list(digests(two).values())
    put(two / "labels/00018.png", [[99, 7], [7, 7]])
    put(two / "images/00018.png", np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="00018.png: id 99"):
        prepare("gta5", two, workers=2)


def make_street(root: Path, images: str, labels: str, suffixes: tuple[str, str]) -> None:
    put(Path(f"{root / images}{suffixes[0]}"), np.zeros((1, 2, 3)))
    put(Path(f"{root / labels}{suffixes[1]}"), [[7, 24]])


def test_cityscapes_counts_train_only(tmp_path: Path) -> None:
    suffixes = ("_leftImg8bit.png", "_gtFine_labelIds.png")
    for split, city in (("train", "ulm"), ("val", "lindau"), ("test", "bonn")):
        stem = f"{split}/{city}/{city}_000000_000019"
        make_street(tmp_path, f"leftImg8bit/{stem}", f"gtFine/{stem}", suffixes)
    done = prepare("cityscapes", tmp_path)
    assert done.converted == 2
    assert done.statistics is not None
    assert done.statistics.files == ["ulm/ulm_000000_000019_gtFine_labelTrainIds.png"]
    final = tmp_path / "gtFine/val/lindau/lindau_000000_000019_gtFine_labelTrainIds.png"
    assert read(final) == [[0, 11]]
    assert not list((tmp_path / "gtFine/test").rglob("*labelTrainIds.png"))


def test_acdc_with_and_without_training_labels(tmp_path: Path) -> None:
    """Target images alone are fine; labels that exist are converted, those of train counted."""
    put(tmp_path / "rgb_anon/fog/train/GOPR1/a_rgb_anon.png", np.zeros((1, 2, 3)))
    done = prepare("acdc", tmp_path)
    assert done.statistics is None
    assert done.warnings == ["no training labels: class_statistics.json is not written"]
    assert not (tmp_path / "class_statistics.json").exists()
    suffixes = ("_rgb_anon.png", "_gt_labelIds.png")
    for split in ("train", "val"):
        stem = f"night/{split}/GOPR2/b"
        make_street(tmp_path, f"rgb_anon/{stem}", f"gt/{stem}", suffixes)
    done = prepare("acdc", tmp_path)
    assert done.converted == 2
    assert done.statistics is not None
    assert done.statistics.files == ["night/train/GOPR2/b_gt_labelTrainIds.png"]


def test_dark_zurich_train_ids_without_label_ids(tmp_path: Path) -> None:
    suffixes = ("_rgb_anon.png", "_gt_labelTrainIds.png")
    put(tmp_path / "rgb_anon/train/night/GOPR1/a_rgb_anon.png", np.zeros((1, 2, 3)))
    stem = "val/night/GOPR2/b"
    put(tmp_path / f"rgb_anon/{stem}{suffixes[0]}", np.zeros((1, 2, 3)))
    put(tmp_path / f"gt/{stem}{suffixes[1]}", [[0, 18]])
    done = prepare("dark_zurich", tmp_path)
    assert (done.converted, done.kept, done.statistics) == (0, 0, None)


def test_camvid_colour_values(tmp_path: Path) -> None:
    """The original's colours: road 0, lane marking 0, truck or bus ignored, child is person 11."""
    put(tmp_path / "701_StillsRaw_full/0001TP_006690.png", np.zeros((1, 4, 3)))
    colours = [[[128, 64, 128], [128, 0, 192], [192, 128, 192], [192, 128, 64]]]
    put(tmp_path / "LabeledApproved_full/0001TP_006690_L.png", colours)
    done = prepare("camvid_colour", tmp_path)
    final = tmp_path / "LabeledApproved_full/0001TP_006690_labelTrainIds.png"
    assert read(final) == [[0, 0, 255, 11]]
    assert done.statistics is not None
    assert done.statistics.files == [final.name]
    assert done.statistics.class_pixels[[0, 11]].tolist() == [2, 1]
    with pytest.raises(FileNotFoundError, match=f"not found: {tmp_path}/gone/701_StillsRaw_full;"):
        LAYOUTS["camvid_colour"].find(tmp_path / "gone")


def test_robotcar_values(tmp_path: Path) -> None:
    """Ids become nine classes; train alone is counted, and val alone is enough."""
    put(tmp_path / "images/val/a.png", [[0, 0, 0]])
    put(tmp_path / "labels/val/a.png", [[1, 7, 16]])
    done = prepare("robotcar", tmp_path)
    assert read(tmp_path / "labels/val/a_labelTrainIds.png") == [[0, 6, 255]]
    assert done.statistics is None
    put(tmp_path / "images/train/s/b.png", [[0] * 6])
    put(tmp_path / "labels/train/s/b.png", [[11, 12, 13, 14, 17, 10]])
    done = prepare("robotcar", tmp_path)
    assert read(tmp_path / "labels/train/s/b_labelTrainIds.png") == [[8, 8, 8, 8, 8, 7]]
    assert done.statistics is not None
    assert done.statistics.files == ["train/s/b_labelTrainIds.png"]
    assert done.statistics.class_pixels.tolist() == [0] * 7 + [1, 5]
    with pytest.raises(FileNotFoundError, match="gone/images"):
        LAYOUTS["robotcar"].find(tmp_path / "gone")


def test_messages_have_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative arguments are given back in full."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"folder not found: {tmp_path}/data$"):
        prepare("gta5", "data")
    make_gta(Path("data"))
    assert prepare("gta5", "data").statistics_path == tmp_path / "data/class_statistics.json"
    put(Path("data/labels/00001.png"), [[99, 7], [7, 7]])
    with pytest.raises(ValueError, match=f"label file {tmp_path}/data/labels/00001.png: id 99"):
        prepare("gta5", "data", force=True)
    with pytest.raises(FileNotFoundError, match=f"folder not found: {tmp_path}/gone/images;"):
        LAYOUTS["gta5"].find(Path("gone"))


def test_folder_without_map_counts_train_ids(tmp_path: Path) -> None:
    put(tmp_path / "images/x/a.jpg", np.zeros((1, 3, 3)))
    put(tmp_path / "labels/x/a.png", [[0, 2, 255]])
    done = prepare("folder", tmp_path)
    assert done.statistics is not None
    assert done.statistics.counts.tolist() == [[1, 0, 1]]
    assert done.statistics.files == ["x/a.png"]
    assert "class 1" in done.warnings[0]


def test_labels_without_image_are_left_out(tmp_path: Path) -> None:
    root = make_gta(tmp_path)
    (root / "images/00002.png").unlink()
    done = prepare("gta5", root)
    assert done.converted == 1
    assert "1 labels have no image and are left out, first" in done.warnings[0]


def test_sizes_that_differ(tmp_path: Path) -> None:
    root = make_gta(tmp_path)
    put(root / "images/00002.png", np.zeros((3, 2, 3)))
    with pytest.raises(ValueError, match=r"label .*00002.png is 2x2, image .*00002.png is 2x3"):
        prepare("gta5", root)
    done = prepare("gta5", root, skip_mismatched=True)
    assert (done.converted, done.kept) == (0, 1)
    assert "1 labels differ in size from their image" in done.warnings[0]


def test_prepare_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layout 'gta' is not known; known are acdc, camvid"):
        prepare("gta", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data set folder not found: .*gone"):
        prepare("gta5", tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"folder not found: .*images"):
        prepare("gta5", tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    with pytest.raises(ValueError, match="no gta5 label files found in"):
        prepare("gta5", tmp_path)
    make_gta(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file is a file; a folder was wanted"):
        prepare("gta5", tmp_path, out=tmp_path / "file")
    (tmp_path / "images/00001.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"cannot read .*images/00001.png"):
        prepare("gta5", tmp_path)


def test_unwritable_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uda.data.prepare.os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="give another folder with --out DIR"):
        prepare("gta5", make_gta(tmp_path))


def test_wrong_train_ids_and_maps(tmp_path: Path) -> None:
    put(tmp_path / "labels/a.png", [[7]])
    put(tmp_path / "images/a.png", np.zeros((1, 1, 3)))
    with pytest.raises(ValueError, match=r"labels/a.png: label id 7 \(1 pixels\) is outside 0..1"):
        prepare(folder_layout(classes=["sky", "road"]), tmp_path)
    with pytest.raises(ValueError, match="a.png: id 7 .* not defined by the convention label map"):
        prepare(folder_layout({8: 0}), tmp_path)
    with pytest.raises(ValueError, match="uses train id 5, but there are only 2 classes"):
        folder_layout({7: 5}, classes=["sky", "road"])


def test_statistics_table_errors() -> None:
    empty = Prepared(LAYOUTS["acdc"], 0, 0, None, None)
    with pytest.raises(ValueError, match="acdc: no training labels"):
        statistics_table(empty)


@pytest.mark.parametrize(
    ("layout", "folder"), [("gta5", "gta5_style"), ("synthia", "synthia_style")]
)
def test_style_samples(shared: Path, tmp_path: Path, layout: str, folder: str) -> None:
    """Both give the counts of the train ids that lie in the third folder."""
    samples = shared / "data/samples"
    done = prepare(layout, samples / folder, out=tmp_path)
    paths = sorted((samples / "cityscapes_style").rglob("*labelTrainIds.png"))
    right = [np.bincount(np.ravel(read(p)), minlength=256)[:19].tolist() for p in paths]
    assert done.statistics is not None
    assert done.statistics.counts.tolist() == right


def test_camvid_pack(shared: Path, tmp_path: Path) -> None:
    """Shares of the 425 source frames as the pack's own meta.json gives them, to five decimals."""
    pack = shared / "data/camvid_day2dusk"
    done = prepare("camvid", pack, out=tmp_path)
    assert done.statistics is not None
    share = done.statistics.class_pixels / done.statistics.class_pixels.sum()
    meta = json.loads((pack / "meta.json").read_text())["pixel_share_of_labelled"]["source_train"]
    assert share == pytest.approx(list(meta.values()), abs=6e-6)


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, str(PROJECT / "tools/prepare_data.py"), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command(tmp_path: Path) -> None:
    """The command as a user gives it, with a label map from a file."""
    root = make_gta(tmp_path / "data")
    label_map = tmp_path / "map.json"
    label_map.write_text('{"7": 0, "26": 1, "0": 255}')
    done = command("folder", root, "--label-map", label_map, "--workers", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 converted, 0 kept" in done.stdout
    assert "66.667 %" in done.stdout


def test_command_help_and_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help fits a screen; a mistake is one sentence on standard error and exit status 1."""

    def run(*arguments: str) -> tuple[int, str]:
        status = prepare_data.main(arguments)
        return status, capsys.readouterr().err

    gone = tmp_path / "gone"
    assert run("gta5", str(gone)) == (1, f"error: data set folder not found: {gone}\n")
    bad = tmp_path / "bad.json"
    for text in ("[1]", "{", '{"a": 1}', '{"1": null}'):
        bad.write_text(text)
        status, error = run("folder", str(tmp_path), "--label-map", str(bad))
        assert status == 1
        assert error.startswith(f"error: label map {bad} is not of the form")
    assert "label map not found" in run("folder", ".", "--label-map", str(tmp_path / "no"))[1]
    assert "goes with layout folder, not with gta5" in run("gta5", ".", "--label-map", str(bad))[1]
    monkeypatch.setattr(sys, "argv", ["tools/prepare_data.py", "-h"])
    with pytest.raises(SystemExit):
        prepare_data.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 25
    assert lines[-1] == "example: python tools/prepare_data.py gta5 data/gta --workers 8"
