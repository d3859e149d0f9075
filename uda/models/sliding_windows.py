"""Windows over images, predicted several at a time, and the mean of their maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from uda.models.detail_windows import sliding_boxes

# Logits (N, K, h, w) of images (N, 3, h, w), given what mmseg knows of each.
Predict = Callable[[Tensor, list[dict[str, Any]]], Tensor]


def mean_over_windows(
    image: Tensor,
    metas: Sequence[Mapping[str, Any]],
    predict: Predict,
    *,
    num_classes: int,
    crop: tuple[int, int],
    stride: tuple[int, int],
    batch: int = 1,
) -> Tensor:
    """The mean over all windows that cover a pixel of what is predicted for them, (N, K, H, W).

    Windows are added in their order, so `batch` changes the result only where the network itself
    computes other last bits for larger batches.

    Args:
        image: (N, 3, H, W).
        metas: What mmseg knows of each image; windows get their own `img_shape`.
        predict: The network, and what else is done to its logits.
        num_classes: K.
        crop: (height, width) of a window in pixels.
        stride: (rows, columns) from one window to the next, at most `crop`.
        batch: Windows that are predicted together, at least 1; memory grows with it.

    Raises:
        ValueError: A stride below 1 or above the crop, or a batch below 1.
    """
    check_windows(crop, stride, batch)
    size = (image.shape[2], image.shape[3])
    total = image.new_zeros((image.shape[0], num_classes, *size))
    count = image.new_zeros((1, 1, *size))
    boxes = sliding_boxes(size, crop, stride)
    for first in range(0, len(boxes), batch):
        group = boxes[first : first + batch]
        windows = torch.cat([box.cut(image) for box in group])
        known = [{**meta, "img_shape": windows.shape[2:]} for _ in group for meta in metas]
        found = predict(windows, known)
        # An exported graph of any number of images cannot be cut by that number.
        parts = found.split(image.shape[0]) if len(group) > 1 else (found,)
        for box, maps in zip(group, parts, strict=True):
            box.cut(total).add_(maps.to(total.dtype))
            box.cut(count).add_(1)
    return total / count


def check_windows(crop: Sequence[int], stride: Sequence[int], batch: int = 1) -> None:
    """Refuse windows that leave gaps.

    Raises:
        ValueError: A stride below 1 or above the crop, or a batch below 1.
    """
    if any(not 1 <= step <= extent for step, extent in zip(stride, crop, strict=True)):
        raise ValueError(
            "Sliding windows have to cover the image: the stride has to lie in 1..crop_size; got "
            f"stride={tuple(stride)} for crop_size={tuple(crop)}. Change `test_cfg`."
        )
    if batch < 1:
        raise ValueError(
            f"Sliding windows are predicted window_batch at a time, at least 1, not {batch}. "
            "Change `test_cfg`."
        )
