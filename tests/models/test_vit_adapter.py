"""ViT-Adapter: sizes, neutrality at the start, gradients, precision, weights, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.tiny_foundation import VITS, tiny
from uda.models import FoundationEncoder, SegmentationNetwork, ViTAdapter
from uda.models.vit_adapter import own_names


def adapter(family: str = "dinov2", **settings: Any) -> ViTAdapter:
    """A small adapter in evaluation mode."""
    encoder = tiny(family, final_norm=False, **settings)
    return ViTAdapter(encoder=encoder, stem_width=4, heads=2).eval()


@pytest.mark.parametrize("family", VITS)
def test_shapes(family: str) -> None:
    """Strides 4 to 32 of the working size, which patches and strides both divide."""
    network = adapter(family)
    multiple = 224 if network.encoder.strides[0] == 14 else 32
    assert network.multiple == multiple
    with torch.no_grad():
        maps = network(torch.randn(1, 3, 97, 230))
    working = [-(-side // multiple) * multiple for side in (97, 230)]
    for one, stride in zip(maps, (4, 8, 16, 32), strict=True):
        assert one.shape[1] == 32
        assert [side * stride for side in one.shape[2:]] == working


@pytest.mark.parametrize("family", VITS)
def test_start_is_the_plain_vit(family: str) -> None:
    """gamma is 0 at the start: the patch tokens are those of the network without an adapter."""
    network = adapter(family)
    image = torch.randn(2, 3, network.multiple, network.multiple)
    sizes = [(network.multiple // stride,) * 2 for stride in (8, 16, 32)]
    cells = sum(h * w for h, w in sizes)
    with torch.no_grad():
        embedded = network.encoder.embed(image)
        _, maps = network._interact(embedded, torch.randn(2, cells, 32), sizes)
        for ours, theirs in zip(maps, network.encoder.maps_at(image), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_injection_reaches_tokens() -> None:
    """With gamma different from 0 the tokens depend on what the convolutions saw."""
    network = adapter("dinov3")
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        before = network(image)[-1]
        for interaction in network.interactions:
            torch.nn.init.constant_(interaction.injector.gamma, 1.0)
        assert not torch.allclose(before, network(image)[-1])


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "recomputed"])
def test_gradients_reach_everything(checkpointing: bool) -> None:
    """Every parameter of ViT and adapter learns, also with recomputed activations."""
    network = adapter("dinov3", grad_checkpointing=checkpointing).train()
    # at the start queries have no influence: no offset and no attention depends on them
    for name, parameter in network.named_parameters():
        if any(part in name for part in ("gamma", "sampling_offsets.w", "attention_weights.w")):
            torch.nn.init.uniform_(parameter, 0.1, 0.3)
    maps = network(torch.randn(2, 3, 64, 64))
    # weights, because the mean square after BatchNorm does not depend on what is before it
    sum((one * torch.randn_like(one)).sum() for one in maps).backward()
    gradients = {n: p.grad for n, p in network.named_parameters()}
    assert [n for n, gradient in gradients.items() if gradient is None] == []
    still = [n for n, gradient in gradients.items() if gradient is not None and not gradient.any()]
    assert [n for n in still if "bias" not in n] == []


def test_bfloat16() -> None:
    """Under bfloat16 autocast maps stay near those of float32, and gradients are finite."""
    network = adapter("dinov3")
    image = torch.randn(1, 3, 64, 64)
    exact = network(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(image)
    for one, other in zip(exact, rough, strict=True):
        assert (one - other.float()).abs().max() < 0.05 * one.abs().max() + 0.05
    sum(one.float().square().mean() for one in rough).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_weights_from_file(tmp_path: Path) -> None:
    """A file in the released names, with the ViT or without, gives the same network."""
    first = adapter()
    torch.nn.init.constant_(first.interactions[0].injector.gamma, 0.7)
    released = {n.removeprefix("encoder.model."): v for n, v in first.state_dict().items()}
    torch.save({**released, "mask_token": torch.zeros(1, 32)}, tmp_path / "whole.pth")
    kept = {n: v for n, v in first.state_dict().items() if not n.startswith("encoder.")}
    torch.save(kept, tmp_path / "adapter.pth")
    image = torch.randn(1, 3, 100, 100)
    for file in ("whole.pth", "adapter.pth"):
        second = ViTAdapter(
            encoder=tiny("dinov2", final_norm=False),
            weights=tmp_path / file,
            stem_width=4,
            heads=2,
        ).eval()
        second.init_weights()
        with torch.no_grad():
            torch.testing.assert_close(second(image)[0], first(image)[0])
    torch.nn.init.constant_(second.up.bias, 3.0)
    second.init_weights()  # once only
    assert second.up.bias.eq(3).all()


def test_weights_errors(tmp_path: Path) -> None:
    """A file that lacks part of the adapter is refused with a name."""
    state = {n: v for n, v in adapter().state_dict().items() if not n.startswith("up.")}
    torch.save(own_names(state), tmp_path / "part.pth")
    network = ViTAdapter(
        encoder=tiny("dinov2", final_norm=False), weights=tmp_path / "part.pth", stem_width=4
    )
    with pytest.raises(ValueError, match=r"part\.pth do not fit ViTAdapter: .*up\.weight is not"):
        ViTAdapter(
            encoder=tiny("dinov2", final_norm=False),
            weights=tmp_path / "part.pth",
            stem_width=4,
            heads=2,
        ).init_weights()
    with pytest.raises(ValueError, match="is .* here and .* in the file"):
        network.init_weights()  # one head instead of two


def test_segmentation_network() -> None:
    """Adapter, pyramid head and a config: logits of an odd image have its size."""
    network = SegmentationNetwork.from_config(
        {
            "type": "EncoderDecoder",
            "backbone": {
                "type": "ViTAdapter",
                "stem_width": 4,
                "heads": 2,
                "encoder": {
                    "type": "FoundationEncoder",
                    "name": "vit_small_patch16_dinov3",
                    "model_args": {"embed_dim": 32, "depth": 4, "num_heads": 2},
                },
            },
            "decode_head": {"type": "PyramidHead", "in_channels": [32] * 4, "num_classes": 5},
            "test_cfg": {"mode": "whole"},
        },
        num_classes=5,
    )
    network.init_weights()
    assert network(torch.randn(2, 3, 61, 75)).logits.shape == (2, 5, 61, 75)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (("convnext", {}), "convnext_tiny: it is no plain Vision Transformer"),
        (("dinov2", {"out_indices": (1, 3), "final_norm": False}), "it gives 2 maps"),
        (("dinov2", {}), "it applies the final norm to each map; set final_norm=False"),
        (("dinov2", {"resize": "pad", "final_norm": False}), "it pads the image"),
    ],
    ids=["kind", "maps", "norm", "pad"],
)
def test_encoder_errors(encoder: tuple[str, dict[str, Any]], message: str) -> None:
    """Encoders an adapter cannot stand around."""
    with pytest.raises(ValueError, match=message):
        ViTAdapter(encoder=tiny(encoder[0], **encoder[1]))


def test_type_errors() -> None:
    """Another module is no encoder."""
    with pytest.raises(TypeError, match="config of a FoundationEncoder as `encoder`; got Conv2d"):
        ViTAdapter(encoder=torch.nn.Conv2d(3, 3, 1))
    assert isinstance(adapter().encoder, FoundationEncoder)
