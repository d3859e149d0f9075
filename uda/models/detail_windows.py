"""Where HRDA's detail crops and windows lie, so that all grids meet (Hoyer et al., ECCV 2022)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch

from uda.structures import Box


def alignment(stride: int, *scales: float) -> int:
    """The least number of image pixels that is a whole number of logits at each scale.

    An image enlarged by s has a logit every `stride / s` of its own pixels. Sizes, and borders of
    boxes, have to be multiples of it at every scale, or maps could not be laid over each other.

    Args:
        stride: Pixels between logits of the network, 4 for DAFormer's head, 8 for DeepLabV2's.
        scales: Factors on height and width.

    >>> alignment(4, 0.5, 1.0), alignment(8, 0.5, 1.0), alignment(4, 0.75, 1.0)
    (8, 16, 16)
    """
    # stride / s as a reduced fraction n / d: n pixels are d logits.
    return math.lcm(*((stride / _fraction(scale)).numerator for scale in scales))


def draw_box(
    size: Sequence[int], inner: Sequence[int], *, step: int, include_last: bool = True
) -> Box:
    """A box of a size at a random multiple of `step` inside an image, all places alike.

    Drawn from torch's global generator: first the row, then the column.

    Args:
        size: (H, W) of the image in pixels.
        inner: (height, width) of the box, at most `size`.
        step: Multiple in pixels.
        include_last: Whether the box may touch the lower and right border (clean). The released
            code draws below `(margin + 1) // step`, so that with a margin of 512 and steps of 8
            the offset 512 never comes: False (reference).

    >>> draw_box((64, 64), (64, 64), step=8)
    Box(top=0, bottom=64, left=0, right=64)
    """

    def offset(margin: int) -> int:
        places = margin // step + 1 if include_last else max(1, (margin + 1) // step)
        # on the host: nothing has to wait for the device
        return step * int(torch.randint(places, ()))

    top = offset(size[0] - inner[0])
    left = offset(size[1] - inner[1])
    return Box(top, top + inner[0], left, left + inner[1])


def sliding_boxes(size: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> list[Box]:
    """Windows over an image, row by row; the last of a row or column ends at the border.

    Args:
        size: (H, W) of the image in pixels.
        window: (height, width); where it is larger than the image, the image's is taken.
        stride: Steps (down, to the right).

    >>> [tuple(box) for box in sliding_boxes((4, 10), (4, 6), (2, 3))]
    [(0, 4, 0, 6), (0, 4, 3, 9), (0, 4, 4, 10)]
    """
    rows, columns = (
        _intervals(length, inner, step)
        for length, inner, step in zip(size, window, stride, strict=True)
    )
    return [Box(*row, *column) for row in rows for column in columns]


def scaled(box: Box, factor: float) -> Box:
    """The box in the pixels of an image enlarged by `factor`; borders have to fall on pixels.

    >>> scaled(Box(8, 16, 0, 24), 0.5)
    Box(top=4, bottom=8, left=0, right=12)
    """
    return Box(*(int(border * _fraction(factor)) for border in box))


def scaled_size(size: Sequence[int], factor: float) -> tuple[int, int]:
    """Height and width of an image enlarged by `factor`, in whole pixels."""
    return int(size[0] * _fraction(factor)), int(size[1] * _fraction(factor))


def _intervals(length: int, window: int, step: int) -> list[tuple[int, int]]:
    window = min(window, length)
    count = -(-(length - window) // step) + 1
    ends = [min(number * step + window, length) for number in range(count)]
    return [(end - window, end) for end in ends]


def _fraction(scale: float) -> Fraction:
    """A factor such as 0.75 as 3/4."""
    return Fraction(scale).limit_denominator(4096)
