"""A timm Vision Transformer step by step: image to tokens, tokens through some of its blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uda._token_masking import TokenMasking
from uda.models.position_tables import table_at


@dataclass(frozen=True)
class Embedded:
    """An image as tokens.

    Attributes:
        tokens: (N, prefix + rows x columns, D); first class token and registers, then patches row
            by row.
        grid: (rows, columns) of the patches.
        prefix: Number of leading tokens without a place.
        rotation: Rotary position embedding for all blocks (EVA-02, DINOv3), or None.
    """

    tokens: Tensor
    grid: tuple[int, int]
    prefix: int
    rotation: Tensor | None

    def as_map(self, tokens: Tensor) -> Tensor:
        """Patch tokens of (N, prefix + L, D) as a map (N, D, rows, columns)."""
        patches = tokens[:, self.prefix :]
        return patches.transpose(1, 2).unflatten(-1, self.grid).contiguous()


def is_vit(model: nn.Module) -> bool:
    """Whether a network is of timm's two kinds of plain Vision Transformers."""
    return isinstance(model, VisionTransformer | Eva)


def embed(
    model: nn.Module, image: Tensor, *, rule: str, masking: TokenMasking | None = None
) -> Embedded:
    """Tokens of an image, with position table, class token and registers.

    Does what timm's network does before its blocks; the rule of the table and the masking are
    why it is written out here. Masking comes before the table, as in DINOv2.

    Args:
        model: timm's `VisionTransformer` or `Eva` with `dynamic_img_size`.
        image: (N, 3, H, W), sides multiples of the patch size.
        rule: Of the position table, see `table_at`.
        masking: Withholds patch tokens, or None.
    """
    vit: Any = model
    patches: Tensor = vit.patch_embed(image)  # (N, rows, columns, D)
    if masking is not None:
        patches = masking(patches)
    grid = (patches.shape[1], patches.shape[2])
    tokens = patches.flatten(1, 2)
    front = [
        token.expand(len(tokens), -1, -1)
        for token in (vit.cls_token, vit.reg_token)
        if token is not None
    ]
    prefix = sum(token.shape[1] for token in front)
    table = _table(vit, grid, rule)
    if table is not None and vit.no_embed_class:
        tokens = tokens + table
    tokens = torch.cat([*front, tokens], dim=1)
    if table is not None and not vit.no_embed_class:
        tokens = tokens + table
    tokens = vit.norm_pre(vit.pos_drop(tokens))
    rope = getattr(vit, "rope", None)
    rotation = None if rope is None else rope.get_embed(shape=grid)
    return Embedded(tokens, grid, prefix, rotation)


def _table(vit: Any, grid: tuple[int, int], rule: str) -> Tensor | None:
    if vit.pos_embed is None:
        return None
    return table_at(
        vit.pos_embed,
        grid,
        own=tuple(vit.patch_embed.grid_size),
        prefix=0 if vit.no_embed_class else vit.num_prefix_tokens,
        rule=rule,
    )


def through_blocks(model: nn.Module, tokens: Tensor, embedded: Embedded, which: range) -> Tensor:
    """Tokens after some blocks of the network.

    Activations of a block are computed again in the backward pass instead of being kept, where
    the network's `set_grad_checkpointing` was called.
    """
    for block in _blocks(model, which):
        arguments: dict[str, Any] = {} if embedded.rotation is None else {"rope": embedded.rotation}
        tokens = run(block, tokens, recompute=saves_memory(model), **arguments)
    return tokens


def saves_memory(model: nn.Module) -> bool:
    """Whether activations are computed again in the backward pass, and there will be one."""
    return bool(getattr(model, "grad_checkpointing", False)) and torch.is_grad_enabled()


def run(module: nn.Module, *inputs: Any, recompute: bool, **arguments: Any) -> Tensor:
    """What a module returns, its activations kept or computed again in the backward pass."""
    out: Tensor = (
        checkpoint(module, *inputs, use_reentrant=False, **arguments)
        if recompute
        else module(*inputs, **arguments)
    )
    return out


def _blocks(model: nn.Module, which: range) -> Iterable[nn.Module]:
    vit: Any = model
    return [vit.blocks[index] for index in which]
