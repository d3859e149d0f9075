"""Two overlapping windows of the same images, and where they show the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pair:
    """Where two windows of the same size lie, in pixels of the image.

    Attributes:
        size: Height and width of each.
        corners: Row and column of the upper left corner of each.
        flipped: Which of them are shown mirrored.
        stride: All of that are multiples of this.
    """

    size: tuple[int, int]
    corners: tuple[tuple[int, int], tuple[int, int]]
    flipped: tuple[bool, bool]
    stride: int

    def cut(self, image: Tensor) -> list[Tensor]:
        """Both windows of images or masks (N, ..., H, W)."""
        height, width = self.size
        views = [image[..., top : top + height, left : left + width] for top, left in self.corners]
        return [v.flip(-1) if f else v for v, f in zip(views, self.flipped, strict=True)]

    def shared(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """What both windows show of maps made of them, place by place the same.

        Args:
            maps: (2N, C, h, w), of the first window of all images, then of the second one.

        Returns:
            Twice (N, C, h', w'), in the orientation of the image.

        Raises:
            ValueError: The positions of the maps do not line up with the windows.
        """
        (top1, left1), (top2, left2) = self.corners
        steps = []
        for pixels, positions in zip(self.size, maps.shape[2:], strict=True):
            if pixels % positions or self.stride % (pixels // positions):
                raise ValueError(
                    f"Windows of {self.size[0]}x{self.size[1]} pixels give maps of "
                    f"{maps.shape[2]}x{maps.shape[3]}, which do not line up at every {self.stride} "
                    "pixels: set stride to a multiple of the stride of the maps (times pool)."
                )
            steps.append(pixels // positions)
        first, last = (
            (max(top1, top2), max(left1, left2)),
            (
                min(top1, top2) + self.size[0],
                min(left1, left2) + self.size[1],
            ),
        )
        found = []
        for view, (top, left), flipped in zip(
            maps.chunk(2), self.corners, self.flipped, strict=True
        ):
            upright = view.flip(-1) if flipped else view
            rows = slice((first[0] - top) // steps[0], (last[0] - top) // steps[0])
            columns = slice((first[1] - left) // steps[1], (last[1] - left) // steps[1])
            found.append(upright[..., rows, columns])
        return found[0], found[1]


class Windows:
    """Draws pairs of windows, on the host, the same for all images of a batch.

    Args:
        share: Side of a window as a share of the image's, above 0.5 and at most 1.
        stride: Pixels to whose multiples corners are rounded down, and sides up.
        flip: Whether each window is mirrored with probability 1/2.

    Raises:
        ValueError: A setting is outside its range.

    >>> Windows(share=0.75, stride=4, flip=False).draw(16, 16).size
    (12, 12)
    """

    def __init__(self, *, share: float, stride: int, flip: bool) -> None:
        if not 0.5 < share <= 1:
            raise ValueError(
                f"window has to be above 0.5 and at most 1, not {share}: smaller windows need not "
                "overlap."
            )
        if stride < 1:
            raise ValueError(f"stride has to be at least 1 pixel, not {stride}.")
        self.share, self.stride, self.flip = share, stride, flip

    def draw(self, height: int, width: int) -> Pair:
        """A pair in images of this size.

        Raises:
            ValueError: The images are so small that windows need not overlap.
        """
        sides = [self._side(height), self._side(width)]
        if any(2 * side <= whole for side, whole in zip(sides, (height, width), strict=True)):
            raise ValueError(
                f"Images of {height}x{width} pixels have windows of {sides[0]}x{sides[1]} at a "
                f"stride of {self.stride}, which need not overlap: lower stride, or raise window."
            )
        draws = torch.rand(6).tolist()  # on the host
        corners = []
        for number in (0, 2):
            place = []
            for draw, side, whole in zip(
                draws[number : number + 2], sides, (height, width), strict=True
            ):
                choices = (whole - side) // self.stride + 1
                place.append(min(int(draw * choices), choices - 1) * self.stride)
            corners.append((place[0], place[1]))
        return Pair(
            size=(sides[0], sides[1]),
            corners=(corners[0], corners[1]),
            flipped=(self.flip and draws[4] < 0.5, self.flip and draws[5] < 0.5),
            stride=self.stride,
        )

    def _side(self, whole: int) -> int:
        wanted = math.ceil(self.share * whole / self.stride - 1e-9)  # 0.7 * 20 is a bit above 14
        return min(wanted, whole // self.stride) * self.stride
