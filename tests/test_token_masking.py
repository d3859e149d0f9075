"""Withheld patch tokens: shares, the switch, errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from uda._token_masking import TokenMasking, masking_tokens
from uda.models import SegmentationNetwork


@given(ratio=st.floats(0, 1), seed=st.integers(0, 1000))
def test_masking_properties(ratio: float, seed: int) -> None:
    """Each token is the mask token or itself; the share is near the ratio (5 deviations)."""
    torch.manual_seed(seed)
    masking = TokenMasking(2)
    masking.mask_token.data.fill_(7.0)
    tokens = torch.zeros(4, 20, 50, 2)
    with masking_tokens(masking, ratio):
        out = masking(tokens)
    hidden = out.eq(7).all(-1)
    assert (out.eq(0).all(-1) | hidden).all()
    share = hidden.float().mean().item()
    assert abs(share - ratio) <= 5 * (ratio * (1 - ratio) / 4000) ** 0.5 + 1e-6
    if ratio in (0, 1):
        assert share == ratio


def test_images_differ() -> None:
    """Each image has draws of its own."""
    masking = TokenMasking(1)
    with masking_tokens(masking, 0.5), torch.no_grad():
        out = masking(torch.ones(2, 100, 1))
    assert not torch.equal(out[0], out[1])


def test_gradient() -> None:
    """The mask token gets the gradient of all masked places, tokens that of their own."""
    masking = TokenMasking(3)
    masking.ratio = 0.5
    tokens = torch.randn(1, 4, 3, requires_grad=True)
    masking.replace(tokens, torch.tensor([[0.1, 0.9, 0.4, 0.5]])).sum().backward()
    assert masking.mask_token.grad is not None
    assert masking.mask_token.grad.tolist() == [[2.0] * 3]
    assert tokens.grad is not None
    assert tokens.grad[0, :, 0].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_switch() -> None:
    """Off in evaluation mode, off after the block, also after an error, and nested."""
    masking = TokenMasking(1)
    network = nn.Sequential(masking)
    tokens = torch.ones(1, 50, 1)
    with masking_tokens(network, 1.0):
        assert not network(tokens).any()
        assert network.eval()(tokens).all()
        with masking_tokens(network.train(), 0.0):
            assert network(tokens).all()
        assert masking.ratio == 1.0
    with pytest.raises(RuntimeError), masking_tokens(network, 1.0):
        raise RuntimeError
    assert masking.ratio == 0.0


def test_switch_errors() -> None:
    """A ratio outside [0, 1], a network that cannot mask."""
    with (
        pytest.raises(ValueError, match=r"in \[0, 1\]; got 1\.2"),
        masking_tokens(TokenMasking(1), 1.2),
    ):
        pass
    told = "Conv2d has no token masking. Set token_masking=True"
    with pytest.raises(ValueError, match=told), masking_tokens(nn.Conv2d(1, 1, 1), 0.5):
        pass


def test_micro_batches() -> None:
    """Where passes are run again in the backward pass, the same tokens are withheld again.

    Each of two images is a part of its own; with all tokens withheld the encoder's kernel has no
    influence, so its gradient is exactly 0, though the block has ended before the backward pass.
    """
    network = SegmentationNetwork.from_config(
        {
            "type": "EncoderDecoder",
            "backbone": {
                "type": "FoundationEncoder",
                "name": "vit_small_patch16_dinov3",
                "token_masking": True,
                "model_args": {"embed_dim": 32, "depth": 4, "num_heads": 2},
            },
            "decode_head": {"type": "LightweightHead", "in_channels": 32, "num_classes": 3},
            "test_cfg": {"mode": "whole"},
        },
        micro_batches=2,
    ).train()
    with masking_tokens(network, 1.0):
        logits = network(torch.randn(2, 3, 32, 32)).logits
    (logits * torch.randn_like(logits)).sum().backward()
    encoder = network.segmentor.backbone
    assert encoder.masking.mask_token.grad.any()
    assert not encoder.model.patch_embed.proj.weight.grad.any()
