"""Predictions of images, folders and videos, as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uda.data.images import read_image
from uda.data.video import VideoReader, VideoWriter
from uda.engine.image_prediction import Predictor
from uda.engine.prediction_inputs import Inputs
from uda.engine.prediction_output import PredictionFolder
from uda.reports.overlay import Overlay

Progress = Callable[[str], None]


class Predicted(NamedTuple):
    """What a call did.

    Attributes:
        written: Images or videos that were predicted.
        skipped: Those whose files were there.
        frames: Of videos.
    """

    written: int
    skipped: int
    frames: int


def predict_files(
    predictor: Predictor,
    inputs: Inputs,
    folder: PredictionFolder,
    *,
    video_overlay: Overlay,
    progress: Progress | None = None,
) -> Predicted:
    """Predict all inputs whose files are not there yet.

    Args:
        predictor: The network.
        inputs: From `find_inputs`.
        folder: Where to.
        video_overlay: Paints frames of videos.
        progress: Called with a line after each input.

    Raises:
        OSError: An image or video cannot be read, or a file not written.
        ValueError: An image is none of the benchmark, or a benchmark is asked for a video.
    """
    if inputs.videos and folder.benchmark is not None:
        raise ValueError("Benchmark servers take images; leave the server's format out for a video")
    tell = progress or (lambda line: None)
    # All names are compared before the first prediction: a wrong one should not cost the others.
    missing = {n: p for n, p in inputs.images.items() if not folder.done(n, p)}
    for number, (name, path) in enumerate(missing.items(), start=1):
        pixels = read_image(path)
        folder.write(name, path, pixels, predictor(pixels))
        tell(f"{number} of {len(missing)}: {path}")
    frames, written = 0, len(missing)
    for name, path in inputs.videos.items():
        out = folder.video_file(name)
        if out.is_file():
            continue
        folder.note_settings()
        frames += predict_video(predictor, path, out, overlay=video_overlay, progress=tell)
        written += 1
    total = len(inputs.images) + len(inputs.videos)
    return Predicted(written, total - written, frames)


def predict_video(
    predictor: Predictor,
    video: str | Path,
    out: str | Path,
    *,
    overlay: Overlay,
    progress: Progress,
) -> int:
    """Write a video with the prediction of each frame painted over it; returns their number.

    Args:
        predictor: The network.
        video: What OpenCV reads.
        out: Ending in .mp4 or .avi; it appears when the last frame is in it.
        overlay: Paints.
        progress: Called with a line every 25 frames.

    Raises:
        FileNotFoundError: There is no such video.
        OSError: It cannot be read, or `out` not written.
    """
    reader = VideoReader(video)
    count = 0
    with VideoWriter(out, rate=reader.rate) as writer:
        for frame in reader:
            picture = overlay(np.asarray(frame[..., ::-1]), predictor(frame).label)
            writer.write(picture[..., ::-1])
            count += 1
            if count % 25 == 0:
                progress(f"{count} of {reader.length or 'unknown'} frames of {video}")
    if count < reader.length:
        progress(f"{video} announces {reader.length} frames, but only {count} could be read.")
    return count
