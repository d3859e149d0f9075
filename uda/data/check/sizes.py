"""Sizes of images on their way through a pipeline, as far as the config tells them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Size = tuple[int, int]  # height, width

# Steps that leave the size as it is.
_KEEPING = (
    "LoadImage",
    "LoadLabel",
    "LoadImageFromFile",
    "LoadAnnotations",
    "RandomFlip",
    "PhotoMetricDistortion",
    "PackSegInputs",
    "PseudoLabelMargins",
    "PackTarget",
)


def crop_of(pipeline: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], Size] | None:
    """The steps before the first `RandomCrop` and its size; None when there is none.

    Args:
        pipeline: Config of the transforms.
    """
    for position, step in enumerate(pipeline):
        if _name(step) == "RandomCrop":
            size = step["crop_size"]
            crop = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
            return list(pipeline[:position]), crop
    return None


def smallest(size: Size, steps: Iterable[Mapping[str, Any]]) -> Size | None:
    """The smallest size that an image can have after some steps; None when that is not known.

    Args:
        size: Of the image as read.
        steps: Config of the transforms.

    Example:
        >>> steps = [dict(type="RandomResize", scale=(320, 240), ratio_range=(0.5, 2.0),
        ...               keep_ratio=True)]
        >>> smallest((480, 640), steps)
        (120, 160)
    """
    for step in steps:
        name = _name(step)
        if name in ("Resize", "RandomResize"):
            size = _resized(size, step)
        elif name not in _KEEPING:
            return None
    return size


def is_random(steps: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the size after some steps is drawn anew each time."""
    return any(_name(step) == "RandomResize" for step in steps)


def _name(step: Mapping[str, Any]) -> str:
    kind = step.get("type")
    return kind if isinstance(kind, str) else getattr(kind, "__name__", "")


def _resized(size: Size, step: Mapping[str, Any]) -> Size:
    height, width = size
    if step.get("scale") is None:
        factor = step.get("scale_factor", 1.0)
        across, down = (factor, factor) if isinstance(factor, (int, float)) else factor
        return int(height * down + 0.5), int(width * across + 0.5)
    across, down = _smallest_scale(step)
    if not step.get("keep_ratio", False):
        return down, across
    longer, shorter = max(across, down), min(across, down)
    # As mmcv does it: the whole image has to fit into the box, whichever way it lies.
    factor = min(longer / max(size), shorter / min(size))
    return int(height * factor + 0.5), int(width * factor + 0.5)


def _smallest_scale(step: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height, as mmcv gives them."""
    scale = step["scale"]
    if isinstance(scale, int):
        scale = (scale, scale)
    if not isinstance(scale[0], int):
        return min(s[0] for s in scale), min(s[1] for s in scale)
    ratio = min(step.get("ratio_range") or (1.0,))
    return int(scale[0] * ratio), int(scale[1] * ratio)
