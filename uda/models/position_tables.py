"""Learnt position tables of Vision Transformers at other grid sizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from torch import Tensor

RULES = ("timm", "dinov2")
_OFFSET = 0.1


def table_at(
    table: Tensor, grid: tuple[int, int], *, own: tuple[int, int], prefix: int, rule: str = "timm"
) -> Tensor:
    """A position table interpolated to another grid.

    "timm" resizes bicubically to the exact size, with antialiasing; DINOv2's models with
    registers were released with this rule. "dinov2" is the one of the models without registers:
    bicubic, no antialiasing, sampled with the factor (n + 0.1) / own, which shifts the sampling
    points. The two do not give the same features (`docs/methods/foundation_encoders.md`). A table
    of the right size is returned as it is.

    Args:
        table: (1, prefix + rows x columns, D).
        grid: Wanted (rows, columns).
        own: (rows, columns) of the table.
        prefix: Number of leading entries that have no place (class token, registers).
        rule: "timm" or "dinov2".

    Returns:
        (1, prefix + rows x columns, D), of the table's dtype.

    Raises:
        ValueError: Unknown rule.
    """
    check_rule(rule)
    if grid == own:
        return table
    if rule == "timm":
        resized: Tensor = resample_abs_pos_embed(
            table, new_size=list(grid), old_size=list(own), num_prefix_tokens=prefix
        )
        return resized
    placed = table[:, prefix:].float().unflatten(1, own).permute(0, 3, 1, 2)
    factors = [(new + _OFFSET) / old for new, old in zip(grid, own, strict=True)]
    # The factors serve both the size, rounded down to the wanted one, and the sampling points.
    placed = F.interpolate(placed, scale_factor=factors, mode="bicubic", align_corners=False)
    flat = placed.flatten(2).transpose(1, 2).to(table.dtype)
    return torch.cat([table[:, :prefix], flat], dim=1)


def check_rule(rule: str) -> None:
    """Refuse an unknown rule.

    Raises:
        ValueError: Unknown.
    """
    if rule not in RULES:
        raise ValueError(f"Unknown position_rule {rule!r}; there are {', '.join(RULES)}.")
