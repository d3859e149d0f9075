"""Parity of encoders, heads and masking with VFM-UDA and VFM-UDA++ (family `vfm`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tests.parity.rows import Row

# By the part of a file's name before its tag; `tests.parity.families` joins both dictionaries
# with those of `tests.parity.vfm_training`.
CHECKS: Mapping[str, Callable[[Path], list[Row]]] = {}
WAITING: Mapping[str, str] = dict.fromkeys(
    (
        "block_mask",
        "deform_attn",
        "lightweight_head",
        "pyramid_head",
        "slide_coords",
        "token_mask",
        "vit_adapter",
    ),
    "foundation encoders",
)
