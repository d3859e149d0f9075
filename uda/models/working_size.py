"""The size at which an encoder sees an image, and maps brought back to the image's own frame."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from uda.models.bilinear import at_size

WAYS = ("next", "vfm_uda", "pad", "none")


def working_size(size: tuple[int, int], multiple: int, way: str) -> tuple[int, int]:
    """(H, W) at which the encoder works.

    "next" and "pad": each side rounded up to a multiple. "vfm_uda": floor(1.1 side / multiple)
    times multiple (VFM-UDA's released code, both papers), at least one multiple. "none": the size
    itself.

    Args:
        size: (H, W) of the image, in pixels.
        multiple: In pixels, such as the patch size.
        way: One of the four.

    Raises:
        ValueError: "none" and a side is no multiple.

    >>> working_size((512, 1024), 14, "next"), working_size((512, 1024), 14, "vfm_uda")
    ((518, 1036), (560, 1120))
    >>> working_size((1024, 1024), 224, "vfm_uda")
    (1120, 1120)
    """
    if way == "none":
        if any(side % multiple for side in size):
            raise ValueError(
                f"The encoder takes sides that are multiples of {multiple} pixels; got an image "
                f'of {size[0]}x{size[1]}. Choose another size, or set resize="next".'
            )
        return size
    if way == "vfm_uda":
        # in integers: 1.1 is no exact floating-point number
        parts = [max(1, side * 11 // (10 * multiple)) for side in size]
    else:
        parts = [math.ceil(side / multiple) for side in size]
    return parts[0] * multiple, parts[1] * multiple


def fit_image(image: Tensor, size: tuple[int, int], way: str) -> Tensor:
    """An image (N, 3, H, W) at its working size: padded with 0 below and right, or resized.

    Resizing is bilinear without antialiasing (align_corners False), as in VFM-UDA.
    """
    height, width = image.shape[2:]
    if (height, width) == size:
        return image
    if way == "pad":
        return F.pad(image, (0, size[1] - width, 0, size[0] - height))
    return at_size(image, size)


def without_padding(one: Tensor, image: tuple[int, int], padded: tuple[int, int]) -> Tensor:
    """A map of a padded image, resampled so that it covers the image alone.

    Cells are rarely a divisor of the image: a map of 37 patches of 14 pixels covers 518 of 512.
    Heads resize maps to the image, so each map is read bilinearly at the centres of as many equal
    cells as cover the image best.

    Args:
        one: (N, C, h, w), covers the padded image.
        image: (H, W) of the image in pixels.
        padded: (H, W) after padding.

    Returns:
        (N, C, h', w') with h' = round(h H / padded H), at least 1.
    """
    if image == padded:
        return one
    covered = [inner / outer for inner, outer in zip(image, padded, strict=True)]
    cells = [max(1, round(n * c)) for n, c in zip(one.shape[2:], covered, strict=True)]
    # positions of the centres, in [-1, 1] over the padded image
    rows, columns = (
        2 * c * (torch.arange(n, device=one.device) + 0.5) / n - 1
        for n, c in zip(cells, covered, strict=True)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    grid = torch.stack([x, y], dim=-1).to(one.dtype).expand(one.shape[0], -1, -1, -1)
    return F.grid_sample(one, grid, mode="bilinear", padding_mode="border", align_corners=False)


def check_way(way: str) -> None:
    """Refuse an unknown way.

    Raises:
        ValueError: Unknown.
    """
    if way not in WAYS:
        raise ValueError(f"Unknown resize {way!r}; there are {', '.join(WAYS)}.")
