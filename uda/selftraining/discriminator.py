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
    AdaptSegNet, CVPR 2018; so in HIAST). With the defaults it has 2,781,121 weights for 19 classes.

    Args:
        num_classes: K, channels of the predictions.
        channels: Channels of the first convolution.
        first_kernel: Side of the first convolution's kernel: 4, or 3 as in IAST's released code.

    Raises:
        ValueError: `first_kernel` is another number.

    >>> sum(p.numel() for p in OutputDiscriminator(num_classes=9).parameters())
    2770881
    """

    def __init__(self, *, num_classes: int, channels: int = 64, first_kernel: int = 4) -> None:
        super().__init__()
        if first_kernel not in (3, 4):
            raise ValueError(
                "first_kernel has to be 4 (AdaptSegNet, HIAST) or 3 (IAST), not "
                f"{first_kernel}: others give maps of another size."
            )
        widths = [num_classes, *(channels * 2**step for step in range(4)), 1]
        layers: list[nn.Module] = []
        kernels = [first_kernel, 4, 4, 4, 4]
        for (before, after), kernel in zip(itertools.pairwise(widths), kernels, strict=True):
            layers += [nn.Conv2d(before, after, kernel, stride=2, padding=1), nn.LeakyReLU(0.2)]
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
