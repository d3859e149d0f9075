"""A segmentor that averages probabilities, not logits, over sliding windows."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

Box = tuple[int, int, int, int]


class SlidingSegmentor(EncoderDecoder):
    """mmseg's `EncoderDecoder` with the inference of VFM-UDA, where `test_cfg.mode` is "slide".

    The image is resized so that its shorter side has `test_cfg.short_side` pixels (None or left
    out: as it is), windows of `crop_size` every `stride` pixels are predicted, the last ones moved
    inwards, and their softmax is averaged. What comes out are logarithms of these means at the
    size of the image, so that softmax gives the means and argmax the class. (VFM-UDA: 1024, crop
    1024, stride 512, for all data sets. It scores against resized labels; mmseg resizes the
    prediction to the label's own size, which only differs where that is not 1024 high.)

    Arguments are those of mmseg's class.
    """

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict[str, Any]]) -> Tensor:
        """Log-probabilities (N, K, H, W) of images (N, 3, H, W)."""
        size = (inputs.shape[2], inputs.shape[3])
        short = self.test_cfg.get("short_side")
        image = inputs
        if short is not None:
            image = at_size(inputs, short_side_size(size, int(short)))
        (height, width), (rows, columns) = self.test_cfg.crop_size, self.test_cfg.stride
        total = image.new_zeros((image.shape[0], self.out_channels, *image.shape[2:]))
        count = image.new_zeros((1, 1, *image.shape[2:]))
        boxes = window_boxes(
            (image.shape[2], image.shape[3]), crop=(height, width), stride=(rows, columns)
        )
        for top, bottom, left, right in boxes:
            window = image[:, :, top:bottom, left:right]
            metas = [{**meta, "img_shape": window.shape[2:]} for meta in batch_img_metas]
            logits = self.encode_decode(window, metas)
            total[:, :, top:bottom, left:right] += logits.float().softmax(1).to(total.dtype)
            count[:, :, top:bottom, left:right] += 1
        probs = at_size(total / count, size)
        return probs.clamp(min=torch.finfo(probs.dtype).tiny).log()


def at_size(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Images or maps (N, C, H, W) at a size, bilinear (align_corners False)."""
    if (image.shape[2], image.shape[3]) == size:
        return image
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


def short_side_size(size: tuple[int, int], short: int) -> tuple[int, int]:
    """(H, W) with the aspect of `size` whose shorter side is `short`, the other one rounded.

    >>> short_side_size((1080, 1920), 1024), short_side_size((100, 64), 50)
    ((1024, 1820), (78, 50))
    """
    smaller = min(size)
    height, width = (short if side == smaller else round(side * short / smaller) for side in size)
    return height, width


def window_boxes(
    size: tuple[int, int], *, crop: tuple[int, int], stride: tuple[int, int]
) -> list[Box]:
    """(top, bottom, left, right) of windows that cover an image, row by row.

    The last window of a row or column is moved inwards; a window larger than the image is cut.

    Args:
        size: (H, W) of the image in pixels.
        crop: (height, width) of a window.
        stride: (rows, columns) from one window to the next, at most `crop`.

    Raises:
        ValueError: A stride below 1 or above the crop, which would leave pixels without a window.

    >>> window_boxes((2, 5), crop=(2, 2), stride=(2, 2))
    [(0, 2, 0, 2), (0, 2, 2, 4), (0, 2, 3, 5)]
    """
    if any(not 1 <= step <= extent for step, extent in zip(stride, crop, strict=True)):
        raise ValueError(
            "Sliding windows have to cover the image: the stride has to lie in 1..crop_size; got "
            f"stride={tuple(stride)} for crop_size={tuple(crop)}. Change `test_cfg`."
        )
    spans = []
    for side, extent, step in zip(size, crop, stride, strict=True):
        number = -(-max(side - extent, 0) // step) + 1
        ends = [min(index * step + extent, side) for index in range(number)]
        spans.append([(max(end - extent, 0), end) for end in ends])
    return [(*row, *column) for row in spans[0] for column in spans[1]]
