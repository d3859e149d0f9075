"""Predicting images, folders and videos by the command: files, resuming, settings, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.engine.scoring import Checkpoints, write_checkpoints
from tests.engine.tiny_run import CLASSES, PALETTE
from uda.commands.predict import main, run
from uda.data.images import read_image
from uda.data.video import VideoReader, VideoWriter
from uda.engine.class_names import classes_of
from uda.engine.evaluate import evaluation_dataset, load_network, write_predictions
from uda.engine.image_prediction import Predictor
from uda.engine.inference import slide
from uda.engine.prediction_inputs import find_inputs
from uda.engine.train import load_config


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints of a tiny run."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"))


def images(files: Checkpoints) -> Path:
    """Two images of 64x64 pixels."""
    return files.config.parent / "data" / "val" / "images"


def arguments(files: Checkpoints, source: object, out: object, *more: object) -> list[str]:
    """A command line with the full checkpoint."""
    return [str(files.config), str(files.full), str(source), "--out", str(out), *map(str, more)]


def pngs(folder: Path) -> list[str]:
    """All PNGs below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))


def test_folder(files: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Train ids of the image's size and overlays with the classes' colours; then nothing to do."""
    out = tmp_path / "out"
    run(arguments(files, images(files), out))
    assert pngs(out) == ["overlay/0.png", "overlay/1.png", "train_ids/0.png", "train_ids/1.png"]
    label = cv2.imread(str(out / "train_ids/0.png"), cv2.IMREAD_UNCHANGED)
    assert (label.shape, label.dtype) == ((64, 64), np.uint8)
    picture = cv2.imread(str(out / "overlay/0.png"))[..., ::-1]
    image = read_image(images(files) / "0.png")[..., ::-1]
    mixed = 0.55 * np.array(PALETTE)[label] + 0.45 * image
    np.testing.assert_allclose(picture[:64, :64], mixed, atol=1)
    assert "2 predicted, 0 were there" in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (out / "overlay/1.png").unlink()
    run(arguments(files, images(files), out))
    assert "1 predicted, 1 were there" in capsys.readouterr().out
    assert (out / "overlay/1.png").stat().st_mtime_ns > times.pop(out / "overlay/1.png")
    assert (out / "overlay/0.png").stat().st_mtime_ns == times[out / "overlay/0.png"]


@pytest.mark.parametrize("way", ["plain", "slide", "augmented"])
def test_equals_the_scoring_tool(files: Checkpoints, tmp_path: Path, way: str) -> None:
    """To the bit, for deploy and full checkpoints, student and teacher."""
    config = load_config(files.config)
    views = {"scales": (0.5, 1.0), "flip": True} if way == "augmented" else {}
    for checkpoint, name in ((files.full, "teacher"), (files.deploy / "student.pth", None)):
        network = load_network(config, checkpoint, name)
        if way == "slide":
            slide(network.segmentor, (32, 48))
        dataset = evaluation_dataset(config, labelled=False)
        write_predictions(network, dataset, folder=tmp_path, workers=0, **views)
        predictor = Predictor(network, config, **views)
        for number in (0, 1):
            saved = tmp_path / network.name / "images" / f"{number}.png"
            found = predictor(read_image(images(files) / f"{number}.png"))
            assert np.array_equal(found.label, cv2.imread(str(saved), cv2.IMREAD_UNCHANGED))
            assert found.confidence.shape == (64, 64)
            assert 1 / 3 <= found.confidence.min() <= found.confidence.max() <= 1


def test_options_reach_the_network(files: Checkpoints, tmp_path: Path) -> None:
    """Teacher, windows and views give other maps than the student's plain ones."""
    ways: dict[str, tuple[object, ...]] = {
        "plain": (),
        "teacher": ("--network", "teacher"),
        "slide": ("--slide", 32, 32, "--stride", 16, 32),
        "views": ("--flip", "--test-time-augmentation", 0.5),
        "statistics": ("--target-statistics", images(files)),
    }
    found = {}
    for way, options in ways.items():
        source = images(files) / "0.png"
        run(arguments(files, source, tmp_path / way, "--no-overlay", *options))
        assert pngs(tmp_path / way) == ["train_ids/0.png"]
        found[way] = (tmp_path / way / "train_ids/0.png").read_bytes()
    assert len(set(found.values())) == len(ways)
    noted = json.loads((tmp_path / "slide" / "predictions.json").read_text())
    assert (noted["slide"], noted["stride"], noted["network"]) == ([32, 32], [16, 32], "student")


def test_video(files: Checkpoints, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A video of as many frames with the prediction painted over; a second start skips it."""
    video = tmp_path / "drive.avi"
    frame = read_image(images(files) / "0.png")
    with VideoWriter(video, rate=12) as writer:
        for _ in range(3):
            writer.write(frame)
    run(arguments(files, video, tmp_path / "out"))
    reader = VideoReader(tmp_path / "out/overlay/drive.mp4")
    frames = list(reader)
    assert (len(frames), reader.rate) == (3, 12)
    assert frames[0].shape[0] > 64  # the legend
    assert "1 predicted, 3 frames, 0 were there" in capsys.readouterr().out
    run(arguments(files, video, tmp_path / "out"))
    assert "0 predicted, 1 were there" in capsys.readouterr().out


def test_short_video_is_told(files: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """A file that announces more frames than can be read: what was read is written, and told."""
    video = tmp_path / "drive.avi"
    with VideoWriter(video, rate=12) as writer:
        writer.write(read_image(images(files) / "0.png"))
    whole = VideoReader.__init__

    def announces_more(self: VideoReader, path: Path) -> None:
        whole(self, path)
        self.length = 30

    monkeypatch.setattr(VideoReader, "__init__", announces_more)
    run(arguments(files, video, tmp_path / "out"))
    assert "announces 30 frames, but only 1 could be read" in capsys.readouterr().out


def test_other_settings_are_refused(files: Checkpoints, tmp_path: Path) -> None:
    """A folder holds predictions of one network and one way to predict."""
    run(arguments(files, images(files), tmp_path))
    with pytest.raises(ValueError, match=r"holds predictions with flip=False, not True; give"):
        run(arguments(files, images(files), tmp_path, "--flip"))
    (tmp_path / "predictions.json").write_text("{")
    with pytest.raises(ValueError, match=r"predictions\.json says what .* cannot be read"):
        run(arguments(files, images(files), tmp_path))


def test_inputs_are_refused(files: Checkpoints, tmp_path: Path,
                            capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    """Nothing there, an empty folder, other files, same stems, damaged files; exit status 1."""
    assert main(arguments(files, tmp_path / "none.png", tmp_path / "out")) == 1
    assert f"There is no image, folder or video {tmp_path / 'none.png'}" in capsys.readouterr().err
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"no image in .*folder or its subfolders .*\.webp\)"):
        find_inputs(folder)
    (folder / "drive.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"it has files ending in \.mp4\)\. Videos .* one by one"):
        find_inputs(folder)
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"notes\.txt is neither an image .* nor a video"):
        find_inputs(tmp_path / "notes.txt")
    for name in ("a.png", "a.jpg"):
        (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.png and .*a\.jpg differ in their ending alone"):
        find_inputs(folder)
    (folder / "a.jpg").unlink()
    with pytest.raises(OSError, match=r"cannot read image file .*a\.png: it is empty"):
        run(arguments(files, folder, tmp_path / "out"))
    with pytest.raises(OSError, match=r"cannot read video .*drive\.mp4"):
        run(arguments(files, folder / "drive.mp4", tmp_path / "out"))
    assert not (tmp_path / "out").exists() or pngs(tmp_path / "out") == []


def test_benchmark_needs_cityscapes_classes(files: Checkpoints, tmp_path: Path) -> None:
    """Three classes are none a server scores."""
    with pytest.raises(ValueError, match="has 3 classes .* Leave the server's format out"):
        run(arguments(files, images(files), tmp_path, "--benchmark", "acdc"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stride", "8", "8"], "--stride is the step of sliding windows"),
        (["--opacity", "3"], "--opacity has to lie between 0 and 1, got 3.0"),
    ],
)
def test_options_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once, with exit status 2."""
    with pytest.raises(SystemExit, match="2"):
        run(["config.py", "a.pth", "a.png", "--out", "out", *options])
    assert message in capsys.readouterr().err


def test_classes(files: Checkpoints) -> None:
    """Names and colours of the config; another number than the network's is refused."""
    config = load_config(files.config)
    found = classes_of(config, 3)
    assert found.names == tuple(CLASSES)
    assert [list(colour) for colour in found.palette] == PALETTE
    with pytest.raises(ValueError, match=r"names 3 classes \(ground, .*\), but its network"):
        classes_of(config, 19)
    config.train_dataloader.dataset.source.classes = None
    config.train_dataloader.dataset.source.type = "Unknown"
    with pytest.raises(ValueError, match="names no classes"):
        classes_of(config, 3)


def test_predictor_refuses_other_arrays(files: Checkpoints) -> None:
    """Grey, floating-point or empty arrays."""
    config = load_config(files.config)
    predictor = Predictor(load_network(config, files.full), config)
    for image in (np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match=r"An image is \(H, W, 3\) of uint8, BGR, got"):
            predictor(image)
    predictor.segmentor.decode_head.num_classes = 300
    network = load_network(config, files.full)
    network.segmentor.num_classes = 300
    with pytest.raises(ValueError, match="at most 256 classes, the network has 300"):
        Predictor(network, config)
