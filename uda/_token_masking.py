"""Withheld patch tokens: the module inside an encoder, and the switch around a forward pass.

The switch is used by training terms, the module by networks; neither room imports the other, so
both stand here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn


class TokenMasking(nn.Module):
    """Patch embeddings, a random share of them replaced by a learnt mask token.

        x_i <- m  where u_i < ratio,  u_i uniform in [0, 1), one for each image and token

    (VFM-UDA; the released code masks before position table and class token are added.) It masks
    in training mode and inside `masking_tokens` only. Draws come from torch's generator of the
    host, whatever the device: nothing waits, and a seed gives the same masks everywhere.

    Args:
        channels: D.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        # timm's DINOv2 has no mask token, so this starts at 0 and is trained.
        self.mask_token = nn.Parameter(torch.zeros(1, channels))
        self.ratio = 0.0

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, ..., D) with a share `ratio` replaced; unchanged where masking is off."""
        if not self.training or self.ratio == 0:
            return tokens
        noise = torch.rand(tokens.shape[0], tokens[0, ..., 0].numel()).view(tokens.shape[:-1])
        return self.replace(tokens, noise.to(tokens.device, non_blocking=True))

    def replace(self, tokens: Tensor, noise: Tensor) -> Tensor:
        """Tokens (N, ..., D), the mask token where noise (N, ...) in [0, 1) is below `ratio`."""
        hidden = (noise < self.ratio).unsqueeze(-1)
        return torch.where(hidden, self.mask_token.to(tokens.dtype), tokens)


def masking_as_now(network: nn.Module) -> AbstractContextManager[None]:
    """A block for later, in which every `TokenMasking` of a network masks as it does now.

    For passes that are run again in the backward pass, when `masking_tokens` has ended.
    """
    return _with_ratios({module: module.ratio for module in _maskings(network)})


@contextmanager
def _with_ratios(ratios: Mapping[TokenMasking, float]) -> Iterator[None]:
    before = {masking: masking.ratio for masking in ratios}
    for masking, ratio in ratios.items():
        masking.ratio = ratio
    try:
        yield
    finally:
        for masking, ratio in before.items():
            masking.ratio = ratio


def _maskings(network: nn.Module) -> list[TokenMasking]:
    return [module for module in network.modules() if isinstance(module, TokenMasking)]


def masking_tokens(network: nn.Module, ratio: float) -> AbstractContextManager[None]:
    """Let every `TokenMasking` of a network mask within the block.

    Args:
        network: Has an encoder with token masking.
        ratio: Expected share of masked tokens, in [0, 1]; VFM-UDA has 0.7.

    Raises:
        ValueError: The ratio is outside [0, 1], or the network has no token masking.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"The share of masked tokens has to lie in [0, 1]; got {ratio}.")
    maskings = _maskings(network)
    if not maskings:
        raise ValueError(
            f"{type(network).__name__} has no token masking. Set token_masking=True in the "
            "config of its FoundationEncoder, or mask the image instead."
        )
    return _with_ratios(dict.fromkeys(maskings, ratio))
