"""Mix Transformer, the encoder of SegFormer (Xie et al., NeurIPS 2021), in sizes B0 to B5.

Names of modules and parameters are those of the released `mit_b*.pth` files, so that these
load without renaming; mmseg's names are renamed on the way (`mit_keys`). Attention runs through
torch's fused `scaled_dot_product_attention`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from timm.layers.drop import DropPath
from torch import Tensor, nn

from uda.models.mit_keys import to_segformer_names
from uda.models.state_dicts import load_exactly, read_state_dict

# The released code gives blocks and stages one epsilon and leaves the others at torch's default.
BLOCK_EPS = 1e-6
EMBEDDING_EPS = 1e-5
NUM_STAGES = 4
# Of SegFormer's repository; mmseg's files of the same encoder are conversions of its weights.
MIT_LICENCE = (
    "licence of SegFormer's Mix Transformer weights: NVIDIA source code licence, for research and "
    "evaluation only, NOT for commercial use (the file's own origin decides)."
)


@dataclass(frozen=True)
class MixTransformerSize:
    """Settings of the four stages, fine to coarse.

    Attributes:
        widths: Channels.
        depths: Number of blocks.
        heads: Attention heads; each divides its width.
        sr_ratios: Spatial reduction of keys and values, in tokens per side; 1: none.
        mlp_ratios: Hidden width of the feed-forward part, as a multiple of the width.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...] = (1, 2, 5, 8)
    sr_ratios: tuple[int, ...] = (8, 4, 2, 1)
    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be built."""
        for name in ("widths", "depths", "heads", "sr_ratios", "mlp_ratios"):
            values = getattr(self, name)
            if len(values) != NUM_STAGES or min(values) < 1:
                raise ValueError(
                    f"`{name}` needs {NUM_STAGES} whole numbers of at least 1, one a stage; "
                    f"got {tuple(values)}."
                )
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(
                    f"Each width has to be a multiple of its number of heads; {width} is not one "
                    f"of {heads} (widths {self.widths}, heads {self.heads})."
                )


_WIDE = (64, 128, 320, 512)
VARIANTS = {
    "b0": MixTransformerSize(widths=(32, 64, 160, 256), depths=(2, 2, 2, 2)),
    "b1": MixTransformerSize(widths=_WIDE, depths=(2, 2, 2, 2)),
    "b2": MixTransformerSize(widths=_WIDE, depths=(3, 4, 6, 3)),
    "b3": MixTransformerSize(widths=_WIDE, depths=(3, 4, 18, 3)),
    "b4": MixTransformerSize(widths=_WIDE, depths=(3, 8, 27, 3)),
    "b5": MixTransformerSize(widths=_WIDE, depths=(3, 6, 40, 3)),
}


class PatchEmbedding(nn.Module):
    """Overlapping patches: a strided convolution, then LayerNorm over channels."""

    def __init__(self, *, in_channels: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(width, eps=EMBEDDING_EPS)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens (N, H*W, C) and their grid (H, W) of an image or map (N, C', H', W')."""
        embedded = self.proj(image)
        grid = (embedded.shape[2], embedded.shape[3])
        return self.norm(embedded.flatten(2).transpose(1, 2)), grid


class EfficientAttention(nn.Module):
    """Self-attention whose keys and values come from a map reduced by a strided convolution."""

    def __init__(self, *, width: int, heads: int, sr_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.sr_ratio = sr_ratio
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        if sr_ratio > 1:
            self.sr = nn.Conv2d(width, width, sr_ratio, sr_ratio)
            self.norm = nn.LayerNorm(width, eps=EMBEDDING_EPS)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (N, H*W, C) that have looked at all (reduced) tokens of their image."""
        count, length, width = tokens.shape
        query = self.q(tokens).reshape(count, length, self.heads, -1).transpose(1, 2)
        context = tokens
        if self.sr_ratio > 1:
            context = self.norm(self.sr(to_map(tokens, grid)).flatten(2).transpose(1, 2))
        key, value = (
            self.kv(context).reshape(count, -1, 2, self.heads, width // self.heads)
        ).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.proj(attended.transpose(1, 2).reshape(count, length, width))
        return mixed


class DepthwiseConvolution(nn.Module):
    """A depth-wise 3x3 convolution on tokens; it is what tells MiT where a token stands."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, 1, 1, groups=width)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (N, H*W, C)."""
        convolved: Tensor = self.dwconv(to_map(tokens, grid))
        return convolved.flatten(2).transpose(1, 2)


class MixFeedForward(nn.Module):
    """Linear, depth-wise 3x3, GELU, linear."""

    def __init__(self, *, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = DepthwiseConvolution(hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (N, H*W, C)."""
        projected: Tensor = self.fc2(F.gelu(self.dwconv(self.fc1(tokens), grid)))
        return projected


class Block(nn.Module):
    """Attention and feed-forward part, each after LayerNorm and beside a shortcut."""

    def __init__(
        self, *, width: int, heads: int, sr_ratio: int, mlp_ratio: int, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.attn = EfficientAttention(width=width, heads=heads, sr_ratio=sr_ratio)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=BLOCK_EPS)
        self.mlp = MixFeedForward(width=width, hidden=mlp_ratio * width)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens (N, H*W, C)."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), grid))
        result: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens), grid))
        return result


class MixTransformer(BaseModule):
    """Feature maps of strides 4, 8, 16 and 32 of an image.

    Four stages of overlapping patch embedding, transformer blocks and LayerNorm; the normed map
    of a stage is its output and the next one's input (Xie et al., NeurIPS 2021, section 3;
    released code: `mix_transformer.py`, which this agrees with in all numbers).

    The constructor draws random weights; `init_weights` (which mmengine's Runner calls) reads
    `weights`, once.

    Args:
        variant: "b0" to "b5"; gives every setting of the sizes below that is None.
        widths: Channels of the four stages.
        depths: Blocks of the four stages.
        heads: Attention heads of the four stages.
        sr_ratios: Reduction of keys and values in the four stages.
        mlp_ratios: Hidden width over width in the four stages.
        in_channels: Channels of the image.
        drop_path_rate: Probability in [0, 1) to skip a branch of the last block; grows linearly
            from 0 at the first block.
        weights: File with SegFormer's or mmseg's names, alone or in a checkpoint; None: random.

    Raises:
        ValueError: Unknown variant or settings that do not fit together.

    >>> import torch
    >>> maps = MixTransformer(variant="b0")(torch.zeros(1, 3, 64, 64))
    >>> [tuple(m.shape[1:]) for m in maps]
    [(32, 16, 16), (64, 8, 8), (160, 4, 4), (256, 2, 2)]
    """

    def __init__(
        self,
        *,
        variant: str = "b0",
        widths: Sequence[int] | None = None,
        depths: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        sr_ratios: Sequence[int] | None = None,
        mlp_ratios: Sequence[int] | None = None,
        in_channels: int = 3,
        drop_path_rate: float = 0.1,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(
                f"Unknown Mix Transformer {variant!r}; there are {', '.join(VARIANTS)}."
            )
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"`drop_path_rate` is a probability in [0, 1); got {drop_path_rate}.")
        base = VARIANTS[variant]
        self.size = MixTransformerSize(
            widths=tuple(widths or base.widths),
            depths=tuple(depths or base.depths),
            heads=tuple(heads or base.heads),
            sr_ratios=tuple(sr_ratios or base.sr_ratios),
            mlp_ratios=tuple(mlp_ratios or base.mlp_ratios),
        )
        self.weights = weights
        self.out_channels = self.size.widths
        last = max(sum(self.size.depths) - 1, 1)
        rates = [drop_path_rate * block / last for block in range(sum(self.size.depths))]
        # All embeddings come first, so that parameters stand in the order of the released files.
        for stage in range(NUM_STAGES):
            self._add_embedding(stage, in_channels if stage == 0 else self.size.widths[stage - 1])
        for stage in range(NUM_STAGES):
            blocks = [self._block(stage, rates.pop(0)) for _ in range(self.size.depths[stage])]
            setattr(self, f"block{stage + 1}", nn.ModuleList(blocks))
            norm = nn.LayerNorm(self.size.widths[stage], eps=BLOCK_EPS)
            setattr(self, f"norm{stage + 1}", norm)
        self.apply(draw_weights)

    def _add_embedding(self, stage: int, in_channels: int) -> None:
        embedding = PatchEmbedding(
            in_channels=in_channels,
            width=self.size.widths[stage],
            kernel=7 if stage == 0 else 3,
            stride=4 if stage == 0 else 2,
        )
        setattr(self, f"patch_embed{stage + 1}", embedding)

    def _block(self, stage: int, drop_path: float) -> Block:
        return Block(
            width=self.size.widths[stage],
            heads=self.size.heads[stage],
            sr_ratio=self.size.sr_ratios[stage],
            mlp_ratio=self.size.mlp_ratios[stage],
            drop_path=drop_path,
        )

    def init_weights(self) -> None:
        """Read the file given as `weights`; does nothing without one or when called again.

        Raises:
            FileNotFoundError: The file is not there.
            ValueError: It holds another network; the first differing names are listed.
        """
        if self._is_init:
            return
        if self.weights is not None:
            state = to_segformer_names(read_state_dict(self.weights))
            load_exactly(self, state, origin=str(Path(self.weights).expanduser().resolve()))
            print_log(f"{Path(self.weights).name}: {MIT_LICENCE}", logger="current")
        self.is_init = True

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Maps (N, widths[i], H/stride, W/stride) of an image (N, in_channels, H, W)."""
        maps = []
        current = image
        for stage in range(1, NUM_STAGES + 1):
            tokens, grid = getattr(self, f"patch_embed{stage}")(current)
            for block in getattr(self, f"block{stage}"):
                tokens = block(tokens, grid)
            current = to_map(getattr(self, f"norm{stage}")(tokens), grid).contiguous()
            maps.append(current)
        return tuple(maps)


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Tokens (N, H*W, C) as a map (N, C, H, W)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)


def draw_weights(module: nn.Module) -> None:
    """Random start of one layer as released: linear truncated normal, convolution by fan-out."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
