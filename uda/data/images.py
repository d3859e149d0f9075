"""Reading one image file: its pixels as stored, and refusals that name the file."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Reason = Literal["empty", "damaged", "deep", "turned"]

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION = 0x0112  # the EXIF and TIFF tag; 1, or none at all, is upright


class ImageFileError(OSError):
    """An image file that cannot be trained on.

    Args:
        message: One sentence with the path.
        reason: ``"empty"``; ``"damaged"``: cut off, or no image that OpenCV reads; ``"deep"``: more
            than 8 bits a channel; ``"turned"``: a TIFF with an orientation.
    """

    # One argument is enough: torch makes an error of a worker process again from its text alone.
    def __init__(self, message: str, reason: Reason = "damaged") -> None:
        super().__init__(message)
        self.reason: Reason = reason


def read_bytes(path: str | Path, what: str) -> bytes:
    """Content of a file.

    Args:
        path: The file.
        what: What it should be, for the error message: ``"image file"``.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: It cannot be read; see `file_error` for the message.
    """
    path = Path(path).absolute()
    try:
        return path.read_bytes()
    except OSError as error:
        raise file_error(error, path, what) from None


def file_error(error: OSError, path: Path, what: str) -> OSError:
    """The same kind of error in one sentence; of a broken link, the message says where it leads.

    Args:
        error: From opening or reading the file.
        path: Full path of the file.
        what: What it should be.
    """
    if isinstance(error, FileNotFoundError):
        link = ""
        if path.is_symlink():
            link = f"; it is a link to {os.readlink(path)}, which is not there"
        return FileNotFoundError(f"{what} not found: {path}{link}")
    if isinstance(error, PermissionError):
        return PermissionError(
            f"cannot read {what} {path}: permission denied; give yourself the right to read it"
        )
    return OSError(f"cannot read {what} {path}: {(error.strerror or str(error)).lower()}")


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """BGR image (H, W, 3) uint8 as stored: the EXIF orientation is not applied.

    See `decode_image` for what becomes of each kind of image.

    Args:
        path: Image file of any format OpenCV reads.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The file cannot be read, or is none to train on (`ImageFileError`).
    """
    return decode_image(read_bytes(path, "image file"), path)


def decode_image(content: bytes, path: str | Path) -> NDArray[np.uint8]:
    """BGR image (H, W, 3) uint8 of a file's content, its pixels where the file has them.

    Labels carry no orientation, so turning the image would part it from its label: the orientation
    that a camera notes in a file is not applied. Readers turn TIFF files whether asked or not, so a
    TIFF with an orientation is refused. Grey becomes three equal channels; a palette its colours;
    alpha is dropped, and the colour below it stays; CMYK is converted without its colour profile.
    More than 8 bits a channel are refused: the upper 8 of them alone, which is what OpenCV would
    give, are almost black for a sensor of 10 to 14 bits. OpenCV fills the missing rest of a cut-off
    file with grey and reports nothing; such files are refused.

    Args:
        content: Every byte of the file.
        path: For the error message.

    Raises:
        ImageFileError: The content cannot be trained on; the message says why and what to do.
    """
    path = Path(path).absolute()
    if not content:
        raise ImageFileError(
            f"cannot read image file {path}: it is empty (0 bytes); fetch it again, or remove it",
            "empty",
        )
    if content.startswith(_TIFF_STARTS) and orientation(content) != 1:
        raise ImageFileError(
            f"image file {path} is a TIFF with an orientation, which readers turn but labels are "
            "not; turn its pixels and save it without one, or as PNG",
            "turned",
        )
    image = None if _is_cut_off(content) else _decoded(content)
    if image is None:
        raise ImageFileError(
            f"cannot read image file {path}: it is cut off or not an image ({len(content)} "
            "bytes); fetch or convert it again, or remove it"
        )
    if image.dtype != np.uint8:
        raise ImageFileError(
            f"image file {path} has {8 * image.itemsize} bits a channel, wanted 8; convert it "
            "with the range of values that you use (the upper 8 bits alone may be almost black)",
            "deep",
        )
    return np.asarray(image, dtype=np.uint8)


def _decoded(content: bytes) -> NDArray[np.generic] | None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # a size beyond OpenCV's limit, most likely of damaged bytes
        return None


def _is_cut_off(content: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end; trailing bytes after a whole image are allowed."""
    jpeg = content.startswith(_JPEG_START) and not content.endswith(_JPEG_END)
    png = content.startswith(_PNG_START) and not content.endswith(_PNG_END)
    if not (jpeg or png):
        return False
    # Rare and slow: some cameras append data, so the decoder that reports missing data decides.
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except Exception:  # damaged bytes lead decoders into errors of many kinds
        return True
    return False


def check_png(content: bytes) -> None:
    """Raise if a PNG lacks its end or a part does not fit its checksum; other formats pass.

    Pillow compares no checksum of the parts that hold the pixels, and needs no end.

    Args:
        content: Every byte of the file; more may follow the end.

    Raises:
        ValueError: Says what is wrong, without the file's name.
    """
    if not content.startswith(_PNG_START):
        return
    place, kind = 8, b""
    while kind != b"IEND":
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if end > len(content):
            raise ValueError("image file is truncated")
        kind = content[place + 4 : place + 8]
        wanted = int.from_bytes(content[end - 4 : end], "big")
        if zlib.crc32(memoryview(content)[place + 4 : end - 4]) != wanted:
            raise ValueError(f"the part at byte {place} does not fit its checksum")
        place = end


def orientation(content: bytes) -> int:
    """EXIF orientation of an image file's content: 1 is upright, 2 to 8 are turned or mirrored."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            noted = image.getexif().get(ORIENTATION, 1)
    except Exception:
        return 1  # what is wrong is said when it is decoded
    return noted if isinstance(noted, int) and 1 < noted <= 8 else 1
