"""Rein: tokens that refine the features between the blocks of a frozen encoder."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn

from uda.models.peft.base import Tuning, find_blocks, prefix_tokens

# The patch size in the bound of the first values, also where an encoder has another one.
_PATCH = 16


class Rein(Tuning):
    """After each block, patch tokens attend to learnt tokens and are moved by what they find.

    For the patch tokens f (N, L, D) after block i and its m tokens `T_i = A_i B_i`:
    `P = softmax(f T_i^t / sqrt(D))`, `d = P[:, 1:] W1(T_i[1:])`, `f <- f + s W2(d + f)`. The
    first token takes attention and adds nothing; W1, W2 (with biases) and s are shared by all
    blocks; class token and registers are left as they are. (Wei et al., CVPR 2024; written from
    the equations.) It depends on the features, so it cannot be merged: deploy checkpoints keep it.

    Args:
        tokens: m.
        rank: Columns of A_i.
        scale: Start of s.
        query_width: Width of the queries for a Mask2Former head (256 in the paper), see `queries`;
            None: none are made.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        *,
        tokens: int = 100,
        rank: int = 16,
        scale: float = 0.001,
        query_width: int | None = None,
    ) -> None:
        super().__init__()
        if tokens < 2 or rank < 1 or (query_width is not None and query_width < 1):
            raise ValueError(
                "Rein needs at least 2 tokens (the first adds nothing), and rank and query_width "
                f"at least 1, not {tokens}, {rank} and {query_width}."
            )
        self.num_tokens, self.rank, self.start_scale = tokens, rank, scale
        self.query_width = query_width
        self.prefix = 0

    def attach(self, encoder: nn.Module) -> None:
        """Make tokens for each block, and hook behind it."""
        blocks = [block for _, block in find_blocks(encoder)]
        width = _width(blocks[0])
        self.build(blocks=len(blocks), width=width, prefix=prefix_tokens(encoder))
        for number, block in enumerate(blocks):
            block.register_forward_hook(partial(self._hook, number))

    def build(self, *, blocks: int, width: int, prefix: int) -> None:
        """Make the parameters for an encoder of that many blocks.

        Args:
            blocks: Number of blocks.
            width: D.
            prefix: Leading tokens that are left as they are.
        """
        self.prefix = prefix
        self.tokens_a = nn.Parameter(torch.empty(blocks, self.num_tokens, self.rank))
        self.tokens_b = nn.Parameter(torch.empty(blocks, self.rank, width))
        bound = math.sqrt(6 / (3 * _PATCH**2 + math.sqrt(self.rank * width)))
        nn.init.uniform_(self.tokens_a, -bound, bound)
        nn.init.uniform_(self.tokens_b, -bound, bound)
        self.token_to_feature = nn.Linear(width, width)
        self.refine = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.tensor(float(self.start_scale)))
        if self.query_width is not None:
            self.to_query = nn.Linear(width, self.query_width)
            self.merge_queries = nn.Linear(3 * self.query_width, self.query_width)

    def tokens_of(self, block: int) -> Tensor:
        """The tokens (m, D) of a block."""
        return self.tokens_a[block] @ self.tokens_b[block]

    def forward(self, tokens: Tensor, block: int) -> Tensor:
        """Refined tokens (N, prefix + L, D) after a block.

        Args:
            tokens: (N, prefix + L, D), what the block gave.
            block: Its number.

        Raises:
            ValueError: They are no tokens, as those of a pyramid's stages are not.
        """
        if tokens.dim() != 3 or tokens.shape[-1] != self.tokens_b.shape[-1]:
            raise ValueError(
                f"Rein refines tokens (N, L, {self.tokens_b.shape[-1]}) after each block; block "
                f"{block} gave {tuple(tokens.shape)}. It is for plain Vision Transformers: use "
                "LoRA or SoMA with this encoder."
            )
        front, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
        learnt = self.tokens_of(block)
        similarity = patches @ learnt.transpose(0, 1) / math.sqrt(patches.shape[-1])
        attention = similarity.softmax(-1)
        found = attention[..., 1:] @ self.token_to_feature(learnt[1:])
        patches = patches + self.scale * self.refine(found + patches)
        return torch.cat([front, patches], dim=1)

    def queries(self) -> Tensor:
        """Queries (m, query_width) for a Mask2Former head, from the tokens of all blocks.

        Each T_i is projected; maximum and mean over the blocks and the last block are joined,
        channel by channel: the three values of a channel are neighbours.

        Raises:
            ValueError: `query_width` is None.
        """
        if self.query_width is None:
            raise ValueError("Rein makes queries only with query_width set, such as 256.")
        projected = self.to_query(self.tokens_a @ self.tokens_b)  # (blocks, m, query_width)
        joined = [projected.max(0).values, projected.mean(0), projected[-1]]
        merged: Tensor = self.merge_queries(torch.stack(joined, -1).flatten(-2))
        return merged

    def _hook(self, number: int, block: nn.Module, inputs: object, output: Tensor) -> Tensor:
        refined: Tensor = self(output, number)
        return refined


def _width(block: nn.Module) -> int:
    """D of a block, by its first norm."""
    norms = (module for module in block.modules() if isinstance(module, nn.LayerNorm))
    norm = next(norms, None)
    if norm is None:
        raise ValueError(
            f"Rein cannot tell the width of a {type(block).__name__}, which has no LayerNorm."
        )
    return int(norm.normalized_shape[-1])
