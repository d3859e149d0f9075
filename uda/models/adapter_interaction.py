"""How the tokens of a ViT and the maps of its adapter exchange what they know."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uda.models.deformable_attention import DeformableAttention, Sizes, cell_centres

EPS = 1e-5  # of the adapter's norms; the ViT's own have 1e-6


class Injector(nn.Module):
    """Patch tokens that also hold what the adapter's maps know.

        x + gamma * attention(LN x; LN c)

    gamma, one number a channel, starts at 0: an untrained adapter leaves the ViT as it is.

    Args:
        channels: D.
        heads: Of the deformable attention.
    """

    def __init__(self, *, channels: int, heads: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.query_norm = nn.LayerNorm(channels, eps=EPS)
        self.feat_norm = nn.LayerNorm(channels, eps=EPS)
        self.attn = DeformableAttention(channels=channels, heads=heads, levels=3, value_ratio=0.5)

    def forward(self, tokens: Tensor, grid: tuple[int, int], maps: Tensor, sizes: Sizes) -> Tensor:
        """Patch tokens (N, h x w, D) of a grid (h, w), after reading maps (N, L, D)."""
        reference = cell_centres([grid], tokens.device)
        read = self.attn(self.query_norm(tokens), reference, self.feat_norm(maps), sizes)
        return tokens + self.gamma * read


class MapsFeedForward(nn.Module):
    """Linear to `width`, a depth-wise 3x3 convolution on each map, GELU, Linear back."""

    def __init__(self, *, channels: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, width)
        # one level deeper than needed, for the names of the released code
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(width, width, 3, padding=1, groups=width)})
        self.act = nn.GELU()
        self.fc2 = nn.Linear(width, channels)

    def forward(self, maps: Tensor, sizes: Sizes) -> Tensor:
        """(N, L, D) of maps (N, L, D), row by row one after the other."""
        hidden = self.fc1(maps).transpose(1, 2)
        parts = hidden.split([h * w for h, w in sizes], dim=-1)
        mixed = [
            self.dwconv["dwconv"](part.unflatten(-1, size)).flatten(2)
            for part, size in zip(parts, sizes, strict=True)
        ]
        out: Tensor = self.fc2(self.act(torch.cat(mixed, dim=-1).transpose(1, 2)))
        return out


class Extractor(nn.Module):
    """Maps that also hold what the patch tokens know.

        c <- c + attention(LN c; LN x),   c <- c + FFN(LN c)

    Args:
        channels: D.
        heads: Of the deformable attention.
        ffn_ratio: Width of the feed-forward layer as a share of D.
    """

    def __init__(self, *, channels: int, heads: int, ffn_ratio: float = 0.25) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(channels, eps=EPS)
        self.feat_norm = nn.LayerNorm(channels, eps=EPS)
        self.attn = DeformableAttention(channels=channels, heads=heads, levels=1, value_ratio=0.5)
        self.ffn = MapsFeedForward(channels=channels, width=int(channels * ffn_ratio))
        self.ffn_norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, maps: Tensor, sizes: Sizes, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Maps (N, L, D) of the given sizes, after reading patch tokens (N, h x w, D)."""
        reference = cell_centres(sizes, maps.device)
        maps = maps + self.attn(self.query_norm(maps), reference, self.feat_norm(tokens), [grid])
        out: Tensor = maps + self.ffn(self.ffn_norm(maps), sizes)
        return out


class Interaction(nn.Module):
    """Injector before some blocks of the ViT, extractors after them (VFM-UDA++).

    Args:
        channels: D.
        heads: Of the deformable attention.
        further: Number of extractors behind the first; the last interaction has two.
    """

    def __init__(self, *, channels: int, heads: int, further: int = 0) -> None:
        super().__init__()
        self.injector = Injector(channels=channels, heads=heads)
        self.extractor = Extractor(channels=channels, heads=heads)
        self.extra_extractors = nn.ModuleList(
            Extractor(channels=channels, heads=heads) for _ in range(further)
        )

    def extractors(self) -> list[nn.Module]:
        """All extractors in their order."""
        return [self.extractor, *self.extra_extractors]
