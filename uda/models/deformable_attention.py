"""Attention that reads a few sampled points of several maps, in plain PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sizes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """Each query's weighted mean of values at sampled points of all maps.

    For a query q with reference point r, head h, level l of size (H_l, W_l) and point k:

        out = W_o concat_h sum_{l,k} A_hlk(q) V_hl(r + offset_hlk(q) / (W_l, H_l)),
        A_h(q) = softmax over levels and points together,

    V_hl the value map read bilinearly with zeros outside, offsets in cells of the level (Zhu et
    al., Deformable DETR, ICLR 2021, eq. 3; parameter names of the released code). The released
    code runs a compiled operation; `grid_sample` computes the same. Offsets start as a ring: head
    h points at angle 2 pi h / heads, point k lies k + 1 cells away (in the larger coordinate);
    attention starts uniform.

    Args:
        channels: D, width of queries, values and output.
        heads: Number of heads; divides D times `value_ratio`.
        levels: Number of maps.
        points: Points a head and level.
        value_ratio: Width of the projected values as a share of D; ViT-Adapter has 0.5.

    Raises:
        ValueError: The width of the values is no multiple of `heads`.
    """

    def __init__(
        self,
        *,
        channels: int,
        heads: int,
        levels: int,
        points: int = 4,
        value_ratio: float = 1.0,
    ) -> None:
        super().__init__()
        width = int(channels * value_ratio)
        if heads < 1 or width < heads or width % heads:
            raise ValueError(
                f"The value width {width} ({channels} channels x value_ratio {value_ratio:g}) has "
                f"to be a multiple of the number of heads, {heads}."
            )
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(channels, heads * levels * points * 2)
        self.attention_weights = nn.Linear(channels, heads * levels * points)
        self.value_proj = nn.Linear(channels, width)
        self.output_proj = nn.Linear(width, channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The start described above; values and output Xavier-uniform, other weights 0."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        ring = torch.stack([angle.cos(), angle.sin()], dim=-1)
        ring = ring / ring.abs().amax(dim=-1, keepdim=True)
        length = torch.arange(1.0, self.points + 1)
        start = ring[:, None, None] * length[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(start.expand(-1, self.levels, -1, -1).reshape(-1))

    def forward(self, query: Tensor, reference: Tensor, values: Tensor, sizes: Sizes) -> Tensor:
        """Attend.

        Args:
            query: (N, Q, D).
            reference: (N or 1, Q, levels or 1, 2), points (x, y) in [0, 1] of the image.
            values: (N, L, D), the maps row by row, one after the other.
            sizes: (H, W) of each map, in cells; L is the sum of H x W.

        Returns:
            (N, Q, D).

        Raises:
            ValueError: `sizes` does not fit `values` or the number of levels.
        """
        check_sizes(sizes, values.shape[1], self.levels)
        shape = (*query.shape[:2], self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).view(*shape, 2)
        weights = self.attention_weights(query).flatten(2).view(*shape[:3], -1).softmax(-1)
        projected = self.value_proj(values)
        # float32 at least: a bfloat16 coordinate cannot tell neighbouring cells of a large map
        exact = torch.promote_types(projected.dtype, torch.float32)
        cells = torch.tensor([(w, h) for h, w in sizes], dtype=exact, device=query.device)
        places = reference[:, :, None, :, None].to(exact)
        locations = places + offsets.to(exact) / cells[:, None]
        # autocast lowers none of the operations in here
        read = sample_maps(
            projected.view(*projected.shape[:2], self.heads, -1).to(exact),
            sizes,
            locations,
            weights.view(shape).to(exact),
        )
        out: Tensor = self.output_proj(read.to(projected.dtype))
        return out


def sample_maps(values: Tensor, sizes: Sizes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of values read bilinearly at points of several maps, zeros outside.

    Args:
        values: (N, L, heads, d), the maps row by row, one after the other.
        sizes: (H, W) of each map.
        locations: (N, Q, heads, levels, points, 2), (x, y) in [0, 1]; cell (i, j) has its centre
            at ((j + 0.5) / W, (i + 0.5) / H).
        weights: (N, Q, heads, levels, points).

    Returns:
        (N, Q, heads x d).

    A map of one row with values 1 and 3, read in the middle between both:

    >>> values = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    >>> middle = torch.tensor([0.5, 0.5]).view(1, 1, 1, 1, 1, 2)
    >>> sample_maps(values, [(1, 2)], middle, torch.ones(1, 1, 1, 1, 1))
    tensor([[[2.]]])
    """
    batch, _, heads, width = values.shape
    queries = locations.shape[1]
    maps = values.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in sizes], dim=-1)
    # (N x heads, Q, levels, points, ...)
    grids = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    shares = weights.transpose(1, 2).flatten(0, 1)
    total = values.new_zeros(batch * heads, width, queries)
    for level, (tokens, size) in enumerate(zip(maps, sizes, strict=True)):
        read = F.grid_sample(
            tokens.unflatten(-1, size),
            grids[:, :, level],
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        total = total + (read * shares[:, None, :, level]).sum(-1)
    return total.view(batch, heads * width, queries).transpose(1, 2)


def cell_centres(sizes: Sizes, device: torch.device) -> Tensor:
    """Centres (x, y) in [0, 1] of all cells of all maps, (1, L, 1, 2), row by row.

    >>> cell_centres([(1, 2)], torch.device("cpu")).flatten(0, 2)
    tensor([[0.2500, 0.5000],
            [0.7500, 0.5000]])
    """
    centres = []
    for height, width in sizes:
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        centres.append(torch.stack([columns, rows], dim=-1).flatten(0, 1))
    return torch.cat(centres)[None, :, None]


def check_sizes(sizes: Sizes, tokens: int, levels: int) -> None:
    """Refuse sizes that do not describe the tokens.

    Raises:
        ValueError: Another number of maps or of cells.
    """
    if len(sizes) != levels or sum(h * w for h, w in sizes) != tokens:
        raise ValueError(
            f"Deformable attention over {levels} map(s) got sizes {[tuple(s) for s in sizes]} for "
            f"{tokens} value tokens: give (H, W) of each map, H x W adding up to the tokens."
        )
