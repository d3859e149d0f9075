"""Names of Mix Transformer weights: SegFormer's (also ours) and mmseg's, either way.

The two implementations hold the same tensors under other names. Two are also shaped or packed
differently: mmseg stacks query, key and value projections into one `in_proj` (SegFormer has a
query and a joint key-value projection), and writes the linear layers of the feed-forward part
as 1x1 convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_SEGFORMER_FIRST = "patch_embed1.proj.weight"
_MMSEG_FIRST = "layers.0.0.projection.weight"

_FEED_FORWARD = {"fc1": "0", "dwconv.dwconv": "1", "fc2": "4"}
_FEED_FORWARD_BACK = {index: name for name, index in _FEED_FORWARD.items()}


def to_segformer_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mix Transformer weights under SegFormer's names, whatever they were called.

    Args:
        state: Weights with SegFormer's or mmseg's names, alone or inside a larger network (the
            tensors that share the encoder's prefix, such as `backbone.`, are taken).

    Returns:
        Names such as `block1.0.attn.q.weight`; the classifier (`head.*`) is left out.

    Raises:
        ValueError: No Mix Transformer is found, or more than one.
    """
    prefix, style = _find_encoder(state)
    inner = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    if style == "mmseg":
        return from_mmseg_names(inner)
    return {name: value for name, value in inner.items() if not name.startswith("head.")}


def _find_encoder(state: Mapping[str, Tensor]) -> tuple[str, str]:
    """The prefix before the encoder's names, and whose names they are."""
    found = [
        (name.removesuffix(first), style)
        for first, style in ((_SEGFORMER_FIRST, "segformer"), (_MMSEG_FIRST, "mmseg"))
        for name in state
        if name == first or name.endswith("." + first)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        prefixes = ", ".join(repr(prefix) for prefix, _ in found)
        raise ValueError(
            f"Wanted one Mix Transformer, found {len(found)} (prefixes {prefixes}). "
            "Save the state dict of the wanted one alone."
        )
    raise ValueError(
        f"Wanted Mix Transformer weights: neither {_SEGFORMER_FIRST!r} (SegFormer's names) nor "
        f"{_MMSEG_FIRST!r} (mmseg's) is among the names, which begin with "
        f"{', '.join(list(state)[:3]) or 'nothing'}."
    )


def from_mmseg_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """SegFormer's names for the state dict of mmseg's `MixVisionTransformer`.

    Args:
        state: Names beginning with `layers.`.

    Raises:
        ValueError: A name that mmseg's encoder does not have.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        match = re.fullmatch(r"layers\.(\d)\.(0|1\.\d+|2)\.(.+)", name)
        if match is None:
            raise ValueError(
                f"{name!r} is not a name in mmseg's MixVisionTransformer (layers.<stage>...)."
            )
        stage, part, rest = int(match[1]) + 1, match[2], match[3]
        if part == "0":
            renamed[f"patch_embed{stage}.{rest.replace('projection', 'proj')}"] = value
        elif part == "2":
            renamed[f"norm{stage}.{rest}"] = value
        else:
            renamed.update(_block_from_mmseg(f"block{stage}.{part[2:]}.", rest, value))
    return renamed


def _block_from_mmseg(block: str, name: str, value: Tensor) -> dict[str, Tensor]:
    if name.startswith("attn.attn.in_proj_"):
        kind = name.removeprefix("attn.attn.in_proj_")
        width = value.shape[0] // 3
        return {
            f"{block}attn.q.{kind}": value[:width].clone(),
            f"{block}attn.kv.{kind}": value[width:].clone(),
        }
    if name.startswith("attn.attn.out_proj."):
        return {block + name.replace("attn.attn.out_proj", "attn.proj"): value}
    if name.startswith("ffn.layers."):
        index, kind = name.removeprefix("ffn.layers.").split(".")
        layer = _FEED_FORWARD_BACK[index]
        is_linear = layer != "dwconv.dwconv" and kind == "weight"
        return {f"{block}mlp.{layer}.{kind}": value.flatten(1) if is_linear else value}
    return {block + name: value}


def to_mmseg_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of mmseg for a state dict with SegFormer's names; undoes `from_mmseg_names`.

    Args:
        state: Names such as `block1.0.attn.q.weight`; `head.*` is left out.

    Raises:
        ValueError: A name that SegFormer's encoder does not have.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith("head."):
            continue
        match = re.fullmatch(r"(patch_embed|block|norm)(\d)\.(.+)", name)
        if match is None:
            raise ValueError(
                f"{name!r} is not a name in SegFormer's encoder (patch_embed<stage>..., "
                "block<stage>..., norm<stage>...)."
            )
        part, stage, rest = match[1], int(match[2]) - 1, match[3]
        if part == "patch_embed":
            renamed[f"layers.{stage}.0.{rest.replace('proj', 'projection')}"] = value
        elif part == "norm":
            renamed[f"layers.{stage}.2.{rest}"] = value
        elif not rest.partition(".")[2].startswith("attn.kv."):
            key, tensor = _block_to_mmseg(name, rest.partition(".")[2], value, state)
            renamed[f"layers.{stage}.1.{rest.partition('.')[0]}.{key}"] = tensor
    return renamed


def _block_to_mmseg(
    full_name: str, name: str, value: Tensor, state: Mapping[str, Tensor]
) -> tuple[str, Tensor]:
    if name.startswith("attn.q."):
        kind = name.removeprefix("attn.q.")
        key_value = state[full_name.replace("attn.q.", "attn.kv.")]
        return f"attn.attn.in_proj_{kind}", torch.cat([value, key_value])
    if name.startswith("attn.proj."):
        return name.replace("attn.proj", "attn.attn.out_proj"), value
    if name.startswith("mlp."):
        layer, _, kind = name.removeprefix("mlp.").rpartition(".")
        is_linear = layer != "dwconv.dwconv" and kind == "weight"
        tensor = value[:, :, None, None] if is_linear else value
        return f"ffn.layers.{_FEED_FORWARD[layer]}.{kind}", tensor
    return name, value
