"""Ways to spoil single files of the two-domain toy data."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def photo(path: Path) -> Image.Image:
    """The picture of a file of the toy data."""
    return Image.open(path).convert("RGB")


def ids(path: Path) -> NDArray[np.uint8]:
    """The label of a file of the toy data, to be changed."""
    return np.array(Image.open(path))


def save(path: Path, pixels: Any, **options: Any) -> Path:
    """Write an array or a picture in the format of the path's name, unless options say another."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    image.save(path, **options)
    return path


def cut(path: Path, count: int) -> None:
    """Keep the first bytes of a file."""
    path.write_bytes(path.read_bytes()[:count])


def twelve_bits(path: Path, channels: int) -> None:
    """The same picture as a sensor of 12 bits stores it."""
    pixels = np.asarray(photo(path))[..., :channels].squeeze().astype(np.uint16) * 16
    assert cv2.imwrite(str(path), pixels)


def again(path: Path, mode: str, suffix: str = ".png", **options: Any) -> Path:
    """The same picture in another mode and format, in place of the file."""
    image = photo(path).convert(mode)
    path.unlink()
    return save(path.with_suffix(suffix), image, **options)


def orientation(value: int) -> Image.Exif:
    """EXIF data with an orientation; 6 is a camera held upright."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def patchy_jpeg(path: Path) -> None:
    """A JPEG that ends as it should and lacks some bytes inside."""
    buffer = io.BytesIO()
    photo(path).save(buffer, "JPEG", quality=75)
    path.unlink()
    content = buffer.getvalue()
    middle = len(content) // 2
    path.with_suffix(".jpg").write_bytes(content[:middle] + bytes(100) + content[middle + 100 :])


def monstrous_png(path: Path) -> None:
    """A PNG of 66 bytes whose head promises 10^10 pixels."""
    path.write_bytes(png((100_000, 100_000), bits=8, colour=2, stream=b"0"))


def grey_png(label: NDArray[np.uint8], bits: int) -> bytes:
    """A grey PNG of 1, 2, 4 or 8 bits that holds the ids as they are."""
    height, width = label.shape
    stream = np.unpackbits(label[..., None], axis=2)[..., 8 - bits :].reshape(height, width * bits)
    rows = np.packbits(stream, axis=1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return png((width, height), bits=bits, colour=0, stream=lines)


def png(size: tuple[int, int], *, bits: int, colour: int, stream: bytes) -> bytes:
    """A PNG put together by hand: width and height, bits a channel, kind of colour, its lines."""
    head = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(stream)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def other_checksum(path: Path) -> None:
    """Flip a bit in the checksum of the last part with pixels, which Pillow does not compare."""
    content = bytearray(path.read_bytes())
    content[-13] ^= 1
    path.write_bytes(content)


def broken_link(path: Path) -> None:
    """A link to nowhere in place of a file."""
    path.unlink()
    os.symlink("gone.png", path)


def rename(folder: Path, old: str, new: str) -> None:
    """Give an image and its label, if there is one, another name."""
    for kind in ("images", "labels"):
        if (folder / kind / old).exists():
            (folder / kind / old).rename(folder / kind / new)


def change(path: Path, value: int, rows: slice = slice(0, 1)) -> None:
    """Give some rows of a label another id."""
    label = ids(path)
    label[rows] = value
    save(path, label)
