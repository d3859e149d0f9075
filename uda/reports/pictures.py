"""Pictures that stand inside a page."""

from __future__ import annotations

import base64

import cv2
import numpy as np


def data_uri(image: np.ndarray, *, width: int = 360, exact: bool = False) -> str:
    """An image as the text that stands for its address in a page.

    Args:
        image: (H, W, 3) uint8, RGB.
        width: Wider ones are made smaller, to so many pixels.
        exact: Keep colours to the bit (PNG; label maps), else as JPEG, which is smaller.

    Raises:
        ValueError: The image is not of this kind.

    >>> data_uri(np.zeros((2, 2, 3), np.uint8), exact=True)[:22]
    'data:image/png;base64,'
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"A picture is (H, W, 3) of uint8, RGB, not {image.shape} of {image.dtype}."
        )
    if image.shape[1] > width:
        size = (width, max(1, round(image.shape[0] * width / image.shape[1])))
        way = cv2.INTER_NEAREST if exact else cv2.INTER_AREA
        image = cv2.resize(image, size, interpolation=way)
    pixels = np.ascontiguousarray(image[..., ::-1])  # OpenCV writes BGR
    kind, ending = ("png", ".png") if exact else ("jpeg", ".jpg")
    settings = [] if exact else [cv2.IMWRITE_JPEG_QUALITY, 85]
    _, content = cv2.imencode(ending, pixels, settings)
    return f"data:image/{kind};base64,{base64.b64encode(content.tobytes()).decode()}"
