"""Features of a network, projected to where they are contrasted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.structures import NetworkOutput


class ProjectionHead(nn.Module):
    """Vectors of length 1 at each position, from one or several feature maps of a network.

    The maps are enlarged to the finest one (bilinear), put side by side, and go through two
    convolutions of 1x1 with ReLU between them. A position whose projection is exactly 0 stays 0.

    Two published heads are settings of it: SePiCo's with the widths (1024, 256, 512) and
    `last="norm_relu"` (`proj_head.py`), PiPa's with (1024, 1024, 256) and `last="plain"`
    (`projection.py`).

    Args:
        channels: Width of each map that is read.
        levels: Which maps of the network those are, counted from fine to coarse; -1 is the
            coarsest.
        hidden: Width between the two convolutions; None: that of all maps together.
        size: Length of the vectors.
        norm: Whether a BatchNorm follows each convolution that has a ReLU. Its statistics are those
            of one process.
        last: What follows the second convolution: `"plain"`, nothing; `"norm_relu"`, what follows
            the first.
        pool: Side of the squares over which the maps are averaged before the convolutions.

    Raises:
        ValueError: An argument is outside its range, or `channels` and `levels` differ in number.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        levels: Sequence[int] = (-1,),
        hidden: int | None = None,
        size: int = 256,
        norm: bool = True,
        last: str = "plain",
        pool: int = 1,
    ) -> None:
        super().__init__()
        if len(channels) != len(levels) or not channels:
            raise ValueError(
                f"A projection reads one map for each of its levels {tuple(levels)}, but channels="
                f"{tuple(channels)} are {len(channels)}: give the width of each."
            )
        if last not in ("plain", "norm_relu"):
            raise ValueError(f'last has to be "plain" or "norm_relu", not {last!r}.')
        if pool < 1 or size < 1:
            raise ValueError(f"size and pool have to be at least 1, not {size} and {pool}.")
        self.channels, self.levels, self.pool = tuple(channels), tuple(levels), pool
        width = sum(channels)
        hidden = width if hidden is None else hidden
        layers = _layer(width, hidden, norm=norm)
        layers += [nn.Conv2d(hidden, size, 1)] if last == "plain" else _layer(hidden, size, norm)
        self.layers = nn.Sequential(*layers)

    def forward(self, output: NetworkOutput) -> Tensor:
        """Unit vectors (N, size, h, w), in full precision, of what a network returned.

        Raises:
            TypeError: It has no feature maps.
            ValueError: There are fewer maps than a level says, or of another width.
        """
        maps = self.maps(output)
        wanted = maps[0].shape[2:]
        maps = [
            found
            if found.shape[2:] == wanted
            else F.interpolate(found, wanted, mode="bilinear", align_corners=False)
            for found in maps
        ]
        joined = torch.cat(maps, 1)
        if self.pool > 1:
            joined = F.avg_pool2d(joined, self.pool, ceil_mode=True)
        found = self.layers(joined)
        return F.normalize(found if found.dtype == torch.float64 else found.float(), dim=1)

    def maps(self, output: NetworkOutput) -> list[Tensor]:
        """The maps that are read, checked."""
        if not output.features:
            raise TypeError(
                "A projection needs a network that returns its features (a "
                "uda.structures.NetworkOutput), such as uda.models.SegmentationNetwork."
            )
        count = len(output.features)
        if any(not -count <= level < count for level in self.levels):
            raise ValueError(
                f"levels={self.levels}: the network has {count} feature maps; name some of them."
            )
        maps = [output.features[level] for level in self.levels]
        widths = tuple(found.shape[1] for found in maps)
        if widths != self.channels:
            raise ValueError(
                f"Feature maps {self.levels} have {widths} channels, not {self.channels}; set "
                f"channels={widths}."
            )
        return maps


def _layer(inputs: int, outputs: int, norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 1, bias=not norm)]
    if norm:
        layers.append(nn.BatchNorm2d(outputs))
    return [*layers, nn.ReLU()]


def flattened(features: Tensor) -> Tensor:
    """Vectors (N h w, C) of a map (N, C, h, w), image by image and row by row.

    >>> flattened(torch.arange(4.0).view(1, 2, 1, 2)).tolist()
    [[0.0, 2.0], [1.0, 3.0]]
    """
    return features.movedim(1, -1).flatten(0, 2)
