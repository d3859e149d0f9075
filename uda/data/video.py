"""Videos through OpenCV: frames of one, and one of frames that appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from uda.files import PARTIAL_SUFFIX

VIDEO_ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_USUAL_RATE = 25.0


class VideoReader:
    """The frames of a video file, (H, W, 3) uint8, BGR, in their order.

    Args:
        path: The file.

    Attributes:
        rate: Frames a second; 25 where the file does not say.
        length: Frames that the file announces, 0 where it does not say; it may hold fewer.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: OpenCV cannot read it as a video.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        if not self.path.is_file():
            raise FileNotFoundError(f"video not found: {self.path}")
        self._capture = cv2.VideoCapture(str(self.path))
        if not self._capture.isOpened():
            raise OSError(self._unreadable())
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = float(rate) if 0 < rate < 1000 else _USUAL_RATE
        self.length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """All frames, once.

        Raises:
            OSError: There is not a single one.
        """
        count = 0
        try:
            while True:
                there, frame = self._capture.read()
                if not there:
                    break
                count += 1
                yield np.asarray(frame, dtype=np.uint8)
        finally:
            self._capture.release()
        if count == 0:
            raise OSError(self._unreadable())

    def _unreadable(self) -> str:
        return (
            f"cannot read video {self.path}: OpenCV finds no frame in it; it is damaged or in a "
            "format this OpenCV does not know, convert it (for example to H.264 in .mp4)"
        )


class VideoWriter:
    """Writes frames of one size; the file takes its name when all of them are in it.

    Args:
        path: The file, ending in .mp4 or .avi.
        rate: Frames a second.

    Raises:
        ValueError: Another ending.

    Used as a context: an error inside leaves no file.
    """

    def __init__(self, path: str | Path, *, rate: float) -> None:
        self.path = Path(path).absolute()
        if self.path.suffix.lower() not in _CODECS:
            raise ValueError(
                f"Videos are written as {' or '.join(_CODECS)}, not as {self.path.name}."
            )
        self.rate = rate
        digest = hashlib.sha256(os.fsencode(self.path.name)).hexdigest()[:16]
        # OpenCV chooses the container by the ending, so that has to stay the last.
        name = f".{digest}.{os.getpid()}{PARTIAL_SUFFIX}{self.path.suffix.lower()}"
        self._partial = self.path.with_name(name)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame (H, W, 3) uint8, BGR; an odd last row or column is left out.

        Raises:
            ValueError: It has another size than those before.
            OSError: The file cannot be written.
        """
        frame = frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2]  # codecs need even ones
        size = (frame.shape[1], frame.shape[0])
        if self._writer is None:
            self._open(size)
        if size != self._size:
            raise ValueError(
                f"All frames of {self.path} have to be of one size; got {size} after {self._size} "
                "(width, height)."
            )
        if self._writer is not None:
            self._writer.write(np.ascontiguousarray(frame))

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        if kind is None and self._writer is not None:
            os.replace(self._partial, self.path)
        self._partial.unlink(missing_ok=True)

    def _open(self, size: tuple[int, int]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*_CODECS[self.path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._partial), code, self.rate, size)
        self._size = size
        if not self._writer.isOpened():
            raise OSError(
                f"cannot write video {self.path}: OpenCV has no encoder for it, or the folder "
                "cannot be written; try the other ending (.avi, .mp4)"
            )
