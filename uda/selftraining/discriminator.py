"""The discriminator of output-space alignment: which domain does a prediction come from?"""

from __future__ import annotations

import itertools
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

_SMALLEST = 32


class OutputDiscriminator(nn.Module):
    """A map of scores at 1/32 of the size of a map of predictions.

    Five 4x4 convolutions with stride 2 and padding 1, of `channels` times 1, 2, 4, 8 and then one
    output, LeakyReLU 0.2 between them, no normalisation, nothing at the end (Tsai et al.,
    AdaptSegNet, CVPR 2018; so in HIAST; IAST's first convolution is 3x3). With the default it has
    2,781,121 weights for 19 classes.

    Args:
        num_classes: K, channels of the predictions.
        channels: Channels of the first convolution.

    >>> sum(p.numel() for p in OutputDiscriminator(num_classes=9).parameters())
    2770881
    """

    def __init__(self, *, num_classes: int, channels: int = 64) -> None:
        super().__init__()
        widths = [num_classes, *(channels * 2**step for step in range(4)), 1]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, predictions: Tensor) -> Tensor:
        """Scores (N, 1, H // 32, W // 32) of predictions (N, K, H, W).

        Raises:
            ValueError: The predictions are smaller than 32 pixels.
        """
        if min(predictions.shape[2:]) < _SMALLEST:
            raise ValueError(
                f"The discriminator needs predictions of at least {_SMALLEST}x{_SMALLEST} pixels, "
                f"not {tuple(predictions.shape[2:])} (height, width); train on larger crops."
            )
        scores: Tensor = self.layers(predictions)
        return scores

    def judge(self, predictions: Tensor) -> Tensor:
        """The same scores, with a gradient for the predictions alone and none for the weights."""
        weights: dict[str, Any] = {name: p.detach() for name, p in self.named_parameters()}
        scores: Tensor = functional_call(self, weights, (predictions,))
        return scores
