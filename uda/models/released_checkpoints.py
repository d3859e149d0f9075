"""One network of a checkpoint that DAFormer's, HRDA's or MIC's released code wrote, or mmseg.

The released code keeps student, teacher and ImageNet encoder in one state dict, under the prefixes
`model.`, `ema_model.` and `imnet_model.` (Hoyer et al.; `mmseg/models/uda/dacs.py`; a teacher of
masked consistency alone: `mic.teacher.ema_model.`). HRDA's head holds two heads, `decode_head.head`
and `decode_head.scale_attention`. mmseg's own segmentors have one network and no prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from uda.models.mit_keys import from_mmseg_names

PREFIXES: dict[str, tuple[str, ...]] = {
    "student": ("model.",),
    "teacher": ("ema_model.", "mic.teacher.ema_model."),
    "imagenet": ("imnet_model.",),
}
"""What the networks of a released checkpoint are called there."""

_MMSEG_MIT = "backbone.layers.0.0.projection.weight"
_HEADS = {"decode_head.head.": "decode_head.", "decode_head.scale_attention.": "attention_head."}
# DeepLabV2's branches: convolutions in modules of mmcv, without a classifier after them.
_BRANCH = re.compile(r"((?:decode|attention)_head\.)aspp_modules\.(\d+)\.conv\.(weight|bias)")


def held_networks(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The prefix of each network that a released checkpoint holds; empty for other files.

    Args:
        state: All its tensors.
    """
    found: dict[str, str] = {}
    for name, prefixes in PREFIXES.items():
        for prefix in prefixes:
            if any(key.startswith(f"{prefix}backbone.") for key in state):
                found.setdefault(name, prefix)
    return found


def one_network(
    state: Mapping[str, Tensor], network: str | None, *, origin: str | Path
) -> dict[str, Tensor]:
    """The tensors of one network of a checkpoint, without its prefix.

    Args:
        state: All tensors of the file.
        network: "student", "teacher" or "imagenet"; None: the student, which published figures are
            of, or the only network of a file of another kind.
        origin: The file, for the message.

    Raises:
        ValueError: The file holds no such network.
    """
    held = held_networks(state)
    if not held:
        if network is not None:
            raise ValueError(
                f"{origin} holds one network, without DAFormer's prefixes (model., ema_model., "
                "imnet_model.); leave out --network."
            )
        return dict(state)
    name = network or "student"
    if name not in held:
        raise ValueError(f"{origin} holds no {name}; it holds: {', '.join(held)}.")
    prefix = held[name]
    return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}


def to_our_segmentor(state: Mapping[str, Tensor], *, origin: str | Path) -> dict[str, Tensor]:
    """A whole segmentor under the names of this project's networks.

    Mix Transformers get SegFormer's names, HRDA's two heads those of `HRDASegmentor`, and the
    branches of DeepLabV2's head those of `DeepLabV2Head`. All else keeps mmseg's name.

    Args:
        state: Of one network, from `one_network`.
        origin: The file, for the message.

    Raises:
        ValueError: There is no backbone with a head.
    """
    parts = {key.partition(".")[0] for key in state}
    if not {"backbone", "decode_head"} <= parts:
        raise ValueError(
            f"Wanted a whole segmentor (backbone and decode_head) in {origin}; its names begin "
            f"with {', '.join(sorted(parts)[:5])}. An encoder alone is converted by --to segformer "
            "or --to mmseg."
        )
    if _MMSEG_MIT in state:
        encoder = _below(state, "backbone.")
        rest = {key: value for key, value in state.items() if not key.startswith("backbone.")}
        renamed = from_mmseg_names(encoder)
        state = {**{f"backbone.{key}": value for key, value in renamed.items()}, **rest}
    has_classifier = any(".conv_seg." in key for key in state)
    found = {}
    for key, value in state.items():
        if key.startswith("backbone.head."):
            continue  # the classifier of pretraining
        name = next((_HEADS[p] + key[len(p) :] for p in _HEADS if key.startswith(p)), key)
        branch = None if has_classifier else _BRANCH.fullmatch(name)
        if branch is not None:
            name = f"{branch[1]}branches.{branch[2]}.{branch[3]}"
        found[name] = value
    return found


def dataset_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Classes and palette by a checkpoint's own word, as mmseg 0.x or 1.x notes them; may be empty.

    Args:
        meta: The checkpoint's entry `meta`.

    >>> dataset_meta({"CLASSES": ("road", "car"), "PALETTE": [[1, 2, 3], [4, 5, 6]]})
    {'classes': ['road', 'car'], 'palette': [[1, 2, 3], [4, 5, 6]]}
    """
    newer = meta.get("dataset_meta")
    stated = newer if isinstance(newer, Mapping) else {}
    classes = stated.get("classes") or meta.get("CLASSES")
    palette = stated.get("palette") or meta.get("PALETTE")
    found: dict[str, Any] = {}
    if classes:
        found["classes"] = [str(name) for name in classes]
    if palette:
        found["palette"] = [[int(value) for value in colour] for colour in palette]
    return found


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
