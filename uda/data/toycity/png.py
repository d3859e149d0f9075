"""PNG bytes of images and palette labels."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import numpy.typing as npt

# Cityscapes' published colours of the 19 trainIds.
PALETTE = np.array(
    [
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
        (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
        (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70),
        (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ],
    np.uint8,
)  # fmt: skip
_LEVEL = 1  # fast; noise hardly compresses anyway


def encode_rgb(image: npt.NDArray[np.uint8]) -> bytes:
    """PNG bytes of an (H, W, 3) uint8 RGB image."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, _LEVEL]
    done, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"OpenCV could not encode an image of shape {image.shape} as PNG")
    return bytes(content)


def encode_palette(label: npt.NDArray[np.uint8], ids: npt.NDArray[np.uint8] | None = None) -> bytes:
    """PNG bytes of a label: 8-bit palette indices are the ids, colours are for the eye.

    OpenCV writes no palettes, so the few chunks are put together here (PNG specification, third
    edition, sections 5 and 11).

    Args:
        label: (H, W) uint8 ids.
        ids: Id of each of the 19 classes, None for trainIds.

    Returns:
        A file that Pillow opens in mode "P".

    Example:
        >>> encode_palette(np.zeros((2, 2), np.uint8))[1:4]
        b'PNG'
    """
    height, width = label.shape
    colours = np.zeros((256, 3), np.uint8)
    colours[np.arange(len(PALETTE)) if ids is None else ids] = PALETTE
    rows = np.zeros((height, width + 1), np.uint8)  # the first byte of a row: no filter
    rows[:, 1:] = label
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", colours.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), _LEVEL)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    """A PNG chunk: length, name, content, checksum."""
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)
