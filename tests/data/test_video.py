"""Videos: what was written is read again; nothing half stands; unreadable files are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uda.data.video import VideoReader, VideoWriter


def write(path: Path, frames: int = 5, size: tuple[int, int] = (48, 64)) -> Path:
    """Frames of one grey each, lighter from frame to frame."""
    with VideoWriter(path, rate=10) as writer:
        for index in range(frames):
            writer.write(np.full((*size, 3), 20 + 40 * index, np.uint8))
    return path


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_round_trip(tmp_path: Path, ending: str) -> None:
    """Number, size, rate and order of the frames; greys but for the codec's rounding."""
    reader = VideoReader(write(tmp_path / f"video{ending}"))
    frames = list(reader)
    assert (reader.rate, reader.length, len(frames)) == (10, 5, 5)
    assert all(frame.shape == (48, 64, 3) and frame.dtype == np.uint8 for frame in frames)
    means = [float(frame.mean()) for frame in frames]
    np.testing.assert_allclose(means, [20, 60, 100, 140, 180], atol=6)
    assert [p.name for p in tmp_path.iterdir()] == [f"video{ending}"]


def write_all(path: Path, *sizes: tuple[int, int], stop: bool = False) -> None:
    """Black frames of some sizes, and then, maybe, Ctrl-C."""
    with VideoWriter(path, rate=10) as writer:
        for size in sizes:
            writer.write(np.zeros((*size, 3), np.uint8))
        if stop:
            raise KeyboardInterrupt


def test_odd_sides_lose_a_row(tmp_path: Path) -> None:
    """Codecs take even sizes."""
    (frame,) = VideoReader(write(tmp_path / "video.avi", 1, (49, 65)))
    assert frame.shape == (48, 64, 3)


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    """A stopped writer: no video, no half of one; an older one stays."""
    path = write(tmp_path / "video.avi")
    old = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write_all(path, (16, 16), stop=True)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["video.avi"]


def test_errors(tmp_path: Path) -> None:
    """Missing, unreadable, another size, another ending, a folder that cannot be written."""
    with pytest.raises(FileNotFoundError, match=r"video not found: .*none\.mp4"):
        VideoReader(tmp_path / "none.mp4")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(OSError, match=r"cannot read video .*broken\.mp4: OpenCV finds no frame"):
        list(VideoReader(broken))
    with pytest.raises(ValueError, match=r"written as \.mp4 or \.avi, not as video\.gif"):
        VideoWriter(tmp_path / "video.gif", rate=10)
    with pytest.raises(ValueError, match=r"of one size; got \(32, 16\) after \(16, 16\)"):
        write_all(tmp_path / "video.avi", (16, 16), (16, 32))


def test_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV without the codec says nothing by itself."""
    import cv2

    class Closed:
        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return False

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoWriter", Closed)
    monkeypatch.setattr(Closed, "fourcc", staticmethod(lambda *_: 0), raising=False)
    monkeypatch.setattr(Closed, "__init__", lambda *_: None)
    with pytest.raises(OSError, match=r"cannot write video .*video\.avi: OpenCV has no encoder"):
        write_all(tmp_path / "video.avi", (16, 16))
