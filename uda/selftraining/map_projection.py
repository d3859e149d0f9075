"""A student's features in the channels of a foundation encoder."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class MapProjection(nn.Module):
    """A student's map in the channels and at the size of a foundation encoder's.

    1x1 convolution to four times the channels, LayerNorm over channels (eps 1e-6), GELU, 1x1
    convolution, bilinear resizing (VFM-UDA++, released code).

    Args:
        inputs: Channels of the student's map.
        outputs: Channels of the foundation encoder's map.

    Raises:
        ValueError: A number of channels is below 1.

    >>> import torch
    >>> MapProjection(8, 12)(torch.zeros(1, 8, 4, 4), (7, 7)).shape
    torch.Size([1, 12, 7, 7])
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        if inputs < 1 or outputs < 1:
            raise ValueError(
                f"A projection has at least 1 channel on each side, not {inputs} and {outputs}."
            )
        self.inputs = inputs
        self.widen = nn.Conv2d(inputs, 4 * inputs, 1)
        self.norm = nn.LayerNorm(4 * inputs, eps=1e-6)
        self.narrow = nn.Conv2d(4 * inputs, outputs, 1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, outputs, *size) of a map (N, inputs, h, w).

        Raises:
            ValueError: The map has another number of channels.
        """
        if features.shape[1] != self.inputs:
            raise ValueError(
                f"The student's coarsest map has {features.shape[1]} channels, not {self.inputs}: "
                f"set the first number of `projection` to {features.shape[1]}."
            )
        wide = self.norm(self.widen(features).movedim(1, -1)).movedim(-1, 1)
        found: Tensor = self.narrow(F.gelu(wide))
        if found.shape[2:] == size:
            return found
        return F.interpolate(found, size, mode="bilinear", align_corners=False)
