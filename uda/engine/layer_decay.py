"""Layer-wise decay of the learning rate: the nearer to the image, the slower a block learns."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

# A transformer block, and what owns it: a plain ViT has one owner, a pyramid one for each stage.
_BLOCK = re.compile(r"^(?P<owner>(?:.*?\.)?)blocks\.(?P<number>\d+)\.")
# What stands before the first block: embeddings of patches and positions, and extra tokens.
_STEM = re.compile(
    r"^(patch_embed|pos_embed|cls_token|reg_token|register_tokens|mask_token|stem|norm_pre)"
)
_FINAL_NORM = ("norm", "fc_norm")


def layer_factors(
    names: Iterable[str], *, rate: float, lr_mult: float, within: str = "backbone"
) -> dict[str, float]:
    """The factor on the learning rate of each parameter of an encoder made of blocks.

    Of n blocks, block i has `lr_mult * rate^(n - 1 - i)`, everything before the first block
    `lr_mult * rate^n`, the norm after the last one `lr_mult`; blocks of several stages are
    numbered through. What else the encoder has, such as an adapter around the blocks, is left out:
    it learns at the full rate (VFM-UDA++, released code: rate 0.9, `lr_mult` 0.1; timm's
    `param_groups_layer_decay` has the same ladder).

    Args:
        names: Dotted names of the parameters of one or several networks.
        rate: Factor from one block to the one before it, in (0, 1].
        lr_mult: Factor of the last block.
        within: The encoder is what lies below a module of this name.

    Returns:
        Factors by name; names without a factor are not in it.

    Raises:
        ValueError: No name below `within` has a block.

    >>> names = ["backbone.cls_token", "backbone.blocks.0.w", "backbone.blocks.1.w", "head.w"]
    >>> sorted(layer_factors(names, rate=0.5, lr_mult=0.1).items())
    [('backbone.blocks.0.w', 0.05), ('backbone.blocks.1.w', 0.1), ('backbone.cls_token', 0.025)]
    """
    encoders: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        if within in parts:
            root = ".".join(parts[: parts.index(within) + 1])
            encoders.setdefault(root, []).append(name)
    factors: dict[str, float] = {}
    for root, members in encoders.items():
        depths = _depths([name[len(root) + 1 :] for name in members])
        if depths is None:
            continue
        factors.update({f"{root}.{name}": lr_mult * rate**depth for name, depth in depths.items()})
    if not factors:
        raise ValueError(
            f"layer_decay: no trainable parameter below {within!r} is called blocks.0...; "
            "the decay is for encoders made of blocks (ViT, Swin, ConvNeXt). Leave it out, or "
            "name the module that holds the blocks in `within`."
        )
    return factors


def _depths(names: list[str]) -> dict[str, int] | None:
    """How many blocks lie behind each parameter, n for the stem; None without any block."""
    found = {name: match for name in names if (match := _BLOCK.match(name))}
    blocks = sorted({_place(match) for match in found.values()})
    if not blocks:
        return None
    last = len(blocks) - 1
    behind = {block: last - number for number, block in enumerate(blocks)}
    stages: dict[str, int] = {}
    for match in found.values():
        owner, depth = match["owner"], behind[_place(match)]
        stages[owner] = max(depth, stages.get(owner, 0))
    depths = {name: behind[_place(match)] for name, match in found.items()}
    for name in names:
        outside = None if name in found else _outside(name, stages, last)
        if outside is not None:
            depths[name] = outside
    return depths


def _outside(name: str, stages: dict[str, int], last: int) -> int | None:
    """Blocks behind a parameter that is in none; None if it is no part of the ladder."""
    network = _common_owner(list(stages))
    inner = name.removeprefix(network)
    if name.startswith(network) and _STEM.match(inner):
        return last + 1
    if name.endswith("mask_token"):  # it stands in for embedded patches, wherever it is kept
        return last + 1
    if name.startswith(network) and inner.split(".")[0] in _FINAL_NORM:
        return 0
    stage = max((owner for owner in stages if name.startswith(owner)), key=len, default=None)
    # What joins two stages belongs to the first block behind it.
    return stages[stage] if stage is not None and len(stages) > 1 else None


def _common_owner(owners: list[str]) -> str:
    """The module around all stages; of a single owner, itself.

    >>> _common_owner(["model.layers_0.", "model.layers_1."]), _common_owner(["model."])
    ('model.', 'model.')
    """
    pieces = [owner.split(".") for owner in owners]
    shared = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*pieces, strict=False))
    parts = [column[0] for column in shared]
    return ".".join([*parts, ""]) if parts and parts[-1] else ".".join(parts)


def _place(match: re.Match[str]) -> tuple[tuple[tuple[int, str], ...], int]:
    """Where a block stands, such that 10 comes after 9."""
    pieces = re.split(r"(\d+)", match["owner"])
    return tuple((int(p) if p.isdigit() else -1, p) for p in pieces), int(match["number"])
