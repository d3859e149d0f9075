"""Foundation encoders of a few thousand weights, one of each family, for tests on a CPU."""

from __future__ import annotations

from typing import Any

import torch

from uda.models import FoundationEncoder

_VIT = {"embed_dim": 32, "depth": 4, "num_heads": 2}
_STAGES = {"depths": (1, 1, 1, 1)}
_SWIN = {"embed_dim": 16, "depths": (2, 1, 1, 1), "num_heads": (1, 2, 2, 4)}

# timm's name and what makes it small, by family
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2": ("vit_small_patch14_dinov2", {**_VIT, "img_size": 98}),
    "dinov2_registers": ("vit_small_patch14_reg4_dinov2", {**_VIT, "img_size": 98}),
    "dinov3": ("vit_small_patch16_dinov3", _VIT),
    "dinov3_qkvb": ("vit_small_patch16_dinov3_qkvb", _VIT),
    "eva02": ("eva02_small_patch14_224", {**_VIT, "img_size": 98}),
    "convnext": ("convnext_tiny", {**_STAGES, "dims": (8, 16, 24, 32)}),
    "swin": ("swin_tiny_patch4_window7_224", _SWIN),
    "swinv2": ("swinv2_tiny_window8_256", _SWIN),
}
VITS = ("dinov2", "dinov2_registers", "dinov3", "dinov3_qkvb", "eva02")


def tiny(family: str, **settings: Any) -> FoundationEncoder:
    """A small encoder with random weights that matter.

    Layer scale starts at 1e-5, and SwinV2's norms behind each branch at 0, which makes an untrained
    network the identity; here they are 0.5.
    """
    name, args = FAMILIES[family]
    torch.manual_seed(0)
    encoder = FoundationEncoder(name=name, model_args=args, **settings)
    for parameter_name, parameter in encoder.named_parameters():
        is_silent_norm = parameter.dim() == 1 and "weight" in parameter_name and not parameter.any()
        if "gamma" in parameter_name or is_silent_norm:
            torch.nn.init.constant_(parameter, 0.5)
    return encoder.eval()
