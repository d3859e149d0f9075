"""Image files of every kind that a decoder knows, made in memory."""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image

_GENERATOR = np.random.default_rng(0)
IDS = _GENERATOR.integers(0, 19, (12, 10)).astype(np.uint8)
COLOURS = _GENERATOR.integers(0, 256, (12, 10, 3)).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a picture as a file of a format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(mode: str) -> Image.Image:
    """The ids, or the colours, in a mode of Pillow."""
    if mode == "I;16":
        return Image.fromarray(IDS.astype(np.uint16))
    if mode == "P":
        return indexed(IDS, range(768))
    colours = mode in ("RGB", "RGBA", "CMYK", "YCbCr")
    return Image.fromarray(COLOURS if colours else IDS).convert(mode)


def indexed(ids: np.ndarray, palette: Iterable[int]) -> Image.Image:
    """Ids as the indices of a palette, whose colours say nothing."""
    image = Image.fromarray(ids).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([value % 256 for value in palette])
    return image


def files(*kinds: str) -> dict[str, bytes]:
    """A file of each format in each mode that the format has, by "FORMAT mode"."""
    found = {}
    for kind in kinds:
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"):
            try:
                found[f"{kind} {mode}"] = encoded(picture(mode), kind)
            except (OSError, ValueError, KeyError):
                continue  # Pillow writes no such file
    return found
