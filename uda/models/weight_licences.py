"""What the licence of pretrained weights allows, shown where weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm

from uda.models.mix_transformer import MIT_LICENCE

# What a licence that timm names means for use, in short; the text itself decides.
TERMS: dict[str, str] = {
    "apache-2.0": "Apache-2.0: any use; keep licence and notices",
    "mit": "MIT: any use; keep the notice",
    "bsd-3-clause": "BSD-3-Clause: any use; keep the notice",
    "cc-by-4.0": "CC-BY-4.0: any use; name the authors",
    "cc-by-nc-4.0": "CC-BY-NC-4.0: NOT for commercial use; name the authors",
    "dinov3-license": (
        "Meta's DINOv3 licence: pass its text on with weights and derivatives, name the "
        "materials in publications, no military use"
    ),
    "fair-noncommercial-research-license": (
        "FAIR non-commercial research licence: NOT for commercial use"
    ),
    "nvidia-open-model-license": "NVIDIA open model licence: read its terms before use",
}
# The licences of the encoders that recipes are made for, by the start of the name and the tag
# (timm's `pretrained_cfg`); a test holds the table to the installed timm.
FAMILIES: dict[tuple[str, str], str] = {
    ("vit_*_patch14_dinov2", "lvd142m"): "apache-2.0",
    ("vit_*_patch14_reg4_dinov2", "lvd142m"): "apache-2.0",
    ("vit_*_patch16_dinov3", "lvd1689m"): "dinov3-license",
    ("vit_*_patch16_dinov3", "sat493m"): "dinov3-license",
    ("vit_*_patch16_dinov3_qkvb", "lvd1689m"): "dinov3-license",
    ("convnext_*", "dinov3_lvd1689m"): "dinov3-license",
    ("vit_*_patch16_dinov3_qkvb", "eupe_lvd1689m"): "fair-noncommercial-research-license",
    ("eva02_*_patch14_224", "mim_*"): "mit",
    ("convnext_*", "fb_in22k"): "apache-2.0",
    ("convnextv2_*", "fcmae*"): "cc-by-nc-4.0",
    ("swin_*", "ms_in22k"): "mit",
    ("swinv2_*", "ms_in22k"): "mit",
    ("vit_*_patch16_224", "mae"): "cc-by-nc-4.0",
}


def licence_of(name: str) -> str:
    """The terms of the weights that timm has under a name, in one phrase.

    Args:
        name: timm's name, with the tag of the weights where it is not the default one.

    >>> licence_of("vit_small_patch14_dinov2")
    'Apache-2.0: any use; keep licence and notices'
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    stated = config.license if config is not None else None
    if not stated or stated == "unknown":
        return "unknown to timm; ask those who published the weights"
    return TERMS.get(stated.lower(), f"{stated}: read its terms before use")


def licence_line(name: str, origin: str) -> str:
    """The sentence that a run shows once when it loads weights.

    Args:
        name: timm's name of the network.
        origin: File or address of the weights.

    >>> print(licence_line("convnextv2_atto.fcmae", "weights/atto.pth"))
    weights/atto.pth: licence of convnextv2_atto.fcmae: CC-BY-NC-4.0: NOT for commercial use; name \
the authors (as timm states it; the file's own origin decides).
    """
    return (
        f"{origin}: licence of {full_name(name)}: {licence_of(name)} "
        "(as timm states it; the file's own origin decides)."
    )


def full_name(name: str) -> str:
    """A network's name with the tag of its weights, the default one where none is given."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if "." in name or config is None or not config.tag:
        return name
    return f"{name}.{config.tag}"


def backbone_licence(backbone: Mapping[str, Any]) -> str:
    """The licences that a network trained from a backbone's weights has to heed, in one line.

    Args:
        backbone: Its config, with its name or variant and its `weights`.

    >>> backbone_licence({"type": "TimmEncoder", "name": "resnet18", "weights": None})
    'code: Apache-2.0; no pretrained weights named; the terms of the training images apply as well'
    """
    inner = backbone
    while isinstance(inner.get("encoder"), Mapping):  # of an adapter or a tuned encoder
        inner = inner["encoder"]
    weights = "no pretrained weights named"
    if inner.get("type") == "MixTransformer":
        if inner.get("weights") is not None:
            weights = MIT_LICENCE.rstrip(".")
    elif inner.get("weights") is not None and inner.get("name"):
        name = str(inner["name"])
        weights = f"pretrained weights of {full_name(name)}: {licence_of(name)}"
    return f"code: Apache-2.0; {weights}; the terms of the training images apply as well"


def normalisation_of(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the images that the weights were trained with, in 0..255, RGB.

    >>> normalisation_of("eva02_small_patch14_224")[0]
    (122.771, 116.746, 104.094)
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None:
        raise ValueError(f"timm states no normalisation for {name!r}; set it by hand.")
    mean, std = (tuple(round(255 * v, 3) for v in values) for values in (config.mean, config.std))
    return mean, std
