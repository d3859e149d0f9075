"""A segmentor that averages probabilities, not logits, over sliding windows."""

from __future__ import annotations

from typing import Any

import torch
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor

from uda.models.bilinear import at_size
from uda.models.sliding_windows import mean_over_windows


class SlidingSegmentor(EncoderDecoder):
    """mmseg's `EncoderDecoder` with the inference of VFM-UDA, where `test_cfg.mode` is "slide".

    The image is resized so that its shorter side has `test_cfg.short_side` pixels (None or left
    out: as it is), windows of `crop_size` every `stride` pixels are predicted, the last ones moved
    inwards, and their softmax is averaged. What comes out are logarithms of these means at the
    size of the image, so that softmax gives the means and argmax the class. (VFM-UDA: 1024, crop
    1024, stride 512, for all data sets. It scores against resized labels; mmseg resizes the
    prediction to the label's own size, which only differs where that is not 1024 high.)
    `test_cfg.window_batch` windows go through the network together, 1 if it is left out.

    Arguments are those of mmseg's class.
    """

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict[str, Any]]) -> Tensor:
        """Log-probabilities (N, K, H, W) of images (N, 3, H, W)."""
        size = (inputs.shape[2], inputs.shape[3])
        short = self.test_cfg.get("short_side")
        image = inputs
        if short is not None:
            image = at_size(inputs, short_side_size(size, int(short)))

        def probabilities(windows: Tensor, metas: list[dict[str, Any]]) -> Tensor:
            logits: Tensor = self.encode_decode(windows, metas)
            return logits.float().softmax(1)

        mean = mean_over_windows(
            image,
            batch_img_metas,
            probabilities,
            num_classes=self.out_channels,
            crop=tuple(self.test_cfg.crop_size),
            stride=tuple(self.test_cfg.stride),
            batch=int(self.test_cfg.get("window_batch", 1)),
        )
        probs = at_size(mean, size)
        return probs.clamp(min=torch.finfo(probs.dtype).tiny).log()


def short_side_size(size: tuple[int, int], short: int) -> tuple[int, int]:
    """(H, W) with the aspect of `size` whose shorter side is `short`, the other one rounded.

    >>> short_side_size((1080, 1920), 1024), short_side_size((100, 64), 50)
    ((1024, 1820), (78, 50))
    """
    smaller = min(size)
    height, width = (short if side == smaller else round(side * short / smaller) for side in size)
    return height, width
