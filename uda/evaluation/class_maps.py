"""The class of each pixel from logits of another size, exactly and without needless memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows that are compared at a time: what is compared stays in a core's own memory.
_ROWS = 64


class ClassMaps:
    """Bilinear resizing followed by the argmax over classes, to the bit.

    What comes out equals ``F.interpolate(logits, size, mode="bilinear").argmax(1)``, whatever the
    factor, also where classes tie (the first wins) and where logits are not finite. On a CPU the
    resized logits of one image go into memory that is used again for the next (half the time of the
    resizing is spent on getting new memory), and the argmax goes through stripes of rows, class by
    class; torch's own walks through the classes of a pixel, which lie far apart.

    Resizing itself is not cut into stripes: torch chooses between kernels by the sizes and the
    number of channels, and their last bits differ, so that only the whole map is surely the same.

    >>> logits = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    >>> ClassMaps()(logits, (1, 4)).tolist()
    [[[0, 0, 1, 1]]]
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0)

    @torch.no_grad()
    def __call__(
        self, logits: Tensor, size: Sequence[int], *, align_corners: bool = False
    ) -> Tensor:
        """Classes at a size.

        Args:
            logits: (N, K, h, w) float, K at least 2.
            size: (H, W) in pixels.
            align_corners: Of the resizing.

        Returns:
            (N, H, W) int64.
        """
        wanted = (int(size[0]), int(size[1]))
        maps = (self._at_size(one, wanted, align_corners) for one in logits.split(1))
        return torch.stack([best_class(one) for one in maps])

    def _at_size(self, logits: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
        """Logits (K, H, W) of one image, in memory that the next call uses again."""
        if tuple(logits.shape[2:]) == size:
            return logits[0]
        if logits.device.type != "cpu":
            return F.interpolate(logits, size, mode="bilinear", align_corners=align_corners)[0]
        shape = (1, logits.shape[1], *size)
        if self._memory.shape != shape or self._memory.dtype != logits.dtype:
            with torch.inference_mode(False):  # so that it can be written to in any mode
                self._memory = torch.empty(shape, dtype=logits.dtype)
        torch.ops.aten.upsample_bilinear2d.out(
            logits, size, align_corners, None, None, out=self._memory
        )
        return self._memory[0]


def best_class(logits: Tensor) -> Tensor:
    """The class of the highest logit (H, W) int64 of (K, H, W), the first of equals: argmax(0).

    >>> best_class(torch.tensor([[[1.0, 2.0]], [[1.0, 3.0]]])).tolist()
    [[0, 1]]
    """
    if logits.device.type != "cpu":
        return logits.argmax(0)
    classes, height, width = logits.shape
    narrow = torch.uint8 if classes <= 256 else torch.int32
    found = torch.zeros(height, width, dtype=narrow)
    for top in range(0, height, _ROWS):
        stripe = logits[:, top : top + _ROWS]
        best, ids = stripe[0].clone(), found[top : top + _ROWS]
        for number in range(1, classes):
            ids.masked_fill_(stripe[number] > best, number)
            torch.maximum(best, stripe[number], out=best)
        if bool(best.isnan().any()):  # for argmax NaN is the highest, for > nothing
            ids.copy_(stripe.argmax(0))
    return found.long()
