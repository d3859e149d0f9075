"""Foundation encoders of every family: maps, sizes, gradients, precision, masking, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.models.tiny_foundation import FAMILIES, VITS, tiny
from uda._token_masking import masking_tokens
from uda.models import FoundationEncoder, SegmentationNetwork

STRIDES = {
    "dinov2": (14,) * 4,
    "dinov2_registers": (14,) * 4,
    "dinov3": (16,) * 4,
    "dinov3_qkvb": (16,) * 4,
    "eva02": (14,) * 4,
    "convnext": (4, 8, 16, 32),
    "swin": (4, 8, 16, 32),
    "swinv2": (4, 8, 16, 32),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_strides(family: str) -> None:
    """Four maps; stride times size is the working size, also of odd and non-square images."""
    encoder = tiny(family)
    assert encoder.strides == STRIDES[family]
    for height, width in ((128, 256), (97, 131)):
        working = [-(-side // encoder.multiple) * encoder.multiple for side in (height, width)]
        with torch.no_grad():
            maps = encoder(torch.randn(1, 3, height, width))
        assert [one.shape[1] for one in maps] == list(encoder.out_channels)
        for one, stride in zip(maps, encoder.strides, strict=True):
            assert [side * stride for side in one.shape[2:]] == working
            assert one.isfinite().all()


@pytest.mark.parametrize("size", [(512, 512), (512, 1024)], ids=["512x512", "512x1024"])
def test_full_sizes(size: tuple[int, int]) -> None:
    """The crops of recipes: 518 and 1036 pixels at patch 14."""
    with torch.no_grad():
        maps = tiny("dinov2")(torch.randn(1, 3, *size))
    assert [tuple(one.shape[2:]) for one in maps] == [(37, 37 if size[1] == 512 else 74)] * 4


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_parity(family: str) -> None:
    """At a size that fits, the maps are those of timm's own `forward_intermediates`."""
    encoder = tiny(family)
    image = torch.randn(2, 3, 3 * encoder.multiple, 2 * encoder.multiple)
    arguments: dict[str, Any] = {"norm": True} if encoder.is_vit else {}
    with torch.no_grad():
        wanted = encoder.model.forward_intermediates(
            image, indices=list(encoder.out_indices), intermediates_only=True, **arguments
        )
        for ours, theirs in zip(encoder(image), wanted, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_everything(family: str) -> None:
    """No parameter is left without a gradient, so none is in a network for nothing."""
    encoder = tiny(family).train()
    loss = sum(one.square().mean() for one in encoder(torch.randn(2, 3, 64, 80)))
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    gradients = {n: p.grad for n, p in encoder.named_parameters()}
    assert [n for n, gradient in gradients.items() if gradient is None] == []
    # a bias of keys adds the same to all scores of a query, so its gradient is 0 up to rounding
    still = [n for n, gradient in gradients.items() if gradient is not None and not gradient.any()]
    assert [n for n in still if "bias" not in n] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_grad_checkpointing(family: str) -> None:
    """Recomputed activations give the same maps and gradients."""
    image = torch.randn(1, 3, 64, 64)
    plain, saving = tiny(family).train(), tiny(family, grad_checkpointing=True).train()
    results = []
    for encoder in (plain, saving):
        maps = encoder(image)
        sum(one.square().sum() for one in maps).backward()
        results.append((maps, [p.grad for p in encoder.parameters()]))
    for ours, theirs in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(ours, theirs)
    for ours, theirs in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(ours, theirs)


def test_grad_checkpointing_saves_tensors() -> None:
    """The switch does something: far fewer tensors are kept for the backward pass."""

    def kept(encoder: FoundationEncoder) -> int:
        sizes: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encoder(torch.randn(1, 3, 70, 70))
        return sum(sizes)

    assert kept(tiny("dinov2", grad_checkpointing=True)) < 0.6 * kept(tiny("dinov2"))


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16(family: str) -> None:
    """Under bfloat16 autocast maps stay near those of float32."""
    encoder = tiny(family)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        exact = encoder(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = encoder(image)
    for one, other in zip(exact, rough, strict=True):
        assert (one - other.float()).abs().max() < 0.05 * one.abs().max() + 0.05


def test_shift_by_a_patch() -> None:
    """With a constant position table, an image rolled by one patch gives rolled maps."""
    encoder = tiny("dinov2")
    torch.nn.init.constant_(encoder.model.pos_embed, 0.3)
    image = torch.randn(1, 3, 70, 98)
    with torch.no_grad():
        maps, moved = encoder(image), encoder(image.roll((14, 28), dims=(2, 3)))
    for one, other in zip(maps, moved, strict=True):
        torch.testing.assert_close(one.roll((1, 2), dims=(2, 3)), other)
        assert not torch.allclose(one, other)


def test_patch_16() -> None:
    """DINOv2 at patch 16: 512 pixels are 32 patches, without resizing."""
    encoder = FoundationEncoder(
        name="vit_small_patch14_dinov2",
        patch_size=16,
        resize="none",
        model_args={"embed_dim": 32, "depth": 4, "num_heads": 2},
    )
    assert encoder.strides == (16,) * 4
    assert tuple(encoder.model.patch_embed.grid_size) == (32, 32)
    with torch.no_grad():
        assert encoder(torch.randn(1, 3, 64, 96))[0].shape[2:] == (4, 6)


def test_padding_keeps_places() -> None:
    """What is padded is cut off again: maps cover the image alone, and keep its cells.

    An image of 70 x 100 pixels is padded to 70 x 112 = 5 x 8 patches, of which 100 / 14 = 7.14
    belong to the image: 7 cells, the first one centred at 100 / 14 pixels instead of 7.
    """
    encoder = tiny("dinov2", resize="pad")
    with torch.no_grad():
        maps = encoder(torch.randn(1, 3, 70, 100))
        exact = encoder(torch.randn(1, 3, 70, 98))
    assert maps[0].shape[2:] == (5, 7)
    assert exact[0].shape[2:] == (5, 7)


def test_final_norm() -> None:
    """Without the final norm the network has none, and maps differ."""
    with_norm, without = tiny("dinov2"), tiny("dinov2", final_norm=False)
    assert [n for n in without.state_dict() if n.startswith("model.norm.")] == []
    with torch.no_grad():
        image = torch.randn(1, 3, 70, 70)
        raw = without(image)[-1]
        normed = with_norm.model.norm(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(with_norm(image)[-1], normed)


def test_out_indices() -> None:
    """Later blocks than the last used one are not kept."""
    encoder = tiny("dinov3", out_indices=(0, 2))
    assert (len(encoder.model.blocks), len(encoder.out_channels)) == (3, 2)
    assert tiny("dinov2").out_indices == (0, 1, 2, 3)
    assert FoundationEncoder(
        name="vit_tiny_patch16_224", model_args={"depth": 12, "embed_dim": 24}
    ).out_indices == (2, 5, 8, 11)


@pytest.mark.parametrize("family", VITS)
def test_token_masking(family: str) -> None:
    """Masking works in training mode inside the block, and its token gets a gradient."""
    encoder = tiny(family, token_masking=True)
    image = torch.randn(2, 3, 64, 64)
    plain = encoder(image)[-1]
    with masking_tokens(encoder, 0.7):
        torch.testing.assert_close(encoder(image)[-1], plain)  # evaluation mode
        masked = encoder.train()(image)[-1]
    assert not torch.allclose(masked, plain)
    torch.testing.assert_close(encoder(image)[-1], plain)  # after the block
    masked.square().sum().backward()
    assert encoder.masking is not None
    assert encoder.masking.mask_token.grad is not None
    assert encoder.masking.mask_token.grad.any()


def test_all_tokens_masked() -> None:
    """With every token withheld, the image has no influence any more."""
    encoder = tiny("dinov2", token_masking=True).train()
    with torch.no_grad(), masking_tokens(encoder, 1.0):
        first, second = (encoder(torch.randn(1, 3, 70, 70))[-1] for _ in range(2))
    torch.testing.assert_close(first, second)


def test_segmentation_network() -> None:
    """Encoder and head in mmseg's segmentor: logits have the size of an odd image."""
    name, args = FAMILIES["eva02"]
    network = SegmentationNetwork.from_config(
        {
            "type": "EncoderDecoder",
            "backbone": {"type": "FoundationEncoder", "name": name, "model_args": args},
            "decode_head": {"type": "LightweightHead", "in_channels": 32, "num_classes": 5},
            "test_cfg": {"mode": "whole"},
        },
        num_classes=5,
    )
    network.init_weights()
    assert network(torch.randn(2, 3, 61, 75)).logits.shape == (2, 5, 61, 75)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": "stretch"}, r"Unknown resize 'stretch'; there are next, vfm_uda, pad, none"),
        ({"position_rule": "own"}, r"Unknown position_rule 'own'; there are timm, dinov2"),
        ({"out_indices": (2, 1)}, r"rise within 0\.\.3; got \[2, 1\]"),
        ({"out_indices": (0, 4)}, r"rise within 0\.\.3; got \[0, 4\]"),
        ({"multiple": 20}, r"multiple of 14 pixels; got multiple=20"),
    ],
    ids=["resize", "rule", "order", "range", "multiple"],
)
def test_setting_errors(settings: dict[str, Any], message: str) -> None:
    """Every wrong setting is refused with what there is."""
    with pytest.raises(ValueError, match=message):
        tiny("dinov2", **settings)


def test_kind_errors() -> None:
    """Settings of Vision Transformers on other networks, dropped patches, unknown names, sizes."""
    with pytest.raises(ValueError, match="convnext_tiny is no plain Vision Transformer"):
        tiny("convnext", token_masking=True)
    with pytest.raises(ValueError, match="patch_drop_rate removes tokens"):
        FoundationEncoder(name="vit_tiny_patch16_224", model_args={"patch_drop_rate": 0.5})
    with pytest.raises(ValueError, match="no network 'vit_tyny_patch16_224'. Did you mean vit_t"):
        FoundationEncoder(name="vit_tyny_patch16_224.augreg_in21k")
    with pytest.raises(ValueError, match=r"multiples of 14 pixels; got an image of 70x71"):
        tiny("dinov2", resize="none")(torch.zeros(1, 3, 70, 71))
    with pytest.raises(ValueError, match="rotations learnt block by block"):
        FoundationEncoder(
            name="vit_small_patch16_rope_mixed_224",
            model_args={"embed_dim": 32, "depth": 2, "num_heads": 2},
        )


@pytest.mark.parametrize("family", FAMILIES)
def test_drop_path(family: str) -> None:
    """None unless asked for (timm's Swin has 0.1 of its own); then it is drawn while training."""
    image = torch.randn(2, 3, 64, 64)
    plain, dropping = tiny(family).train(), tiny(family, drop_path_rate=0.5).train()
    with torch.no_grad():
        torch.testing.assert_close(plain(image)[-1], plain(image)[-1])
        assert not torch.allclose(dropping(image)[-1], dropping(image)[-1])
