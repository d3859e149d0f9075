"""The convolutional branch of ViT-Adapter: maps of strides 4 to 32 from the image itself."""

from __future__ import annotations

from torch import Tensor, nn


class SpatialPrior(nn.Module):
    """Four maps (N, D, H/4 .. H/32, W/4 .. W/32) of an image, by convolutions alone.

    Three 3x3 convolutions (the first with stride 2) and max-pooling give stride 4; one 3x3
    convolution of stride 2 each gives 8, 16, 32; all with BatchNorm and ReLU. 1x1 convolutions
    bring all four to D (Chen et al., Vision Transformer Adapter, ICLR 2023, section 3.2;
    parameter names of VFM-UDA++).

    Args:
        channels: D.
        width: Channels of the stem; 64 in ViT-Adapter.
        momentum: Of BatchNorm's running statistics; VFM-UDA++ has 0.01.
    """

    def __init__(self, *, channels: int, width: int = 64, momentum: float = 0.01) -> None:
        super().__init__()

        def layer(inside: int, outside: int, stride: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outside, momentum=momentum),
                nn.ReLU(inplace=True),
            ]

        self.stem = nn.Sequential(
            *layer(3, width, 2),
            *layer(width, width, 1),
            *layer(width, width, 1),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.conv2 = nn.Sequential(*layer(width, 2 * width, 2))
        self.conv3 = nn.Sequential(*layer(2 * width, 4 * width, 2))
        self.conv4 = nn.Sequential(*layer(4 * width, 4 * width, 2))
        self.fc1 = nn.Conv2d(width, channels, 1)
        self.fc2 = nn.Conv2d(2 * width, channels, 1)
        self.fc3 = nn.Conv2d(4 * width, channels, 1)
        self.fc4 = nn.Conv2d(4 * width, channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps of strides 4, 8, 16, 32 of an image (N, 3, H, W), all with D channels."""
        first = self.stem(image)
        second = self.conv2(first)
        third = self.conv3(second)
        fourth = self.conv4(third)
        return self.fc1(first), self.fc2(second), self.fc3(third), self.fc4(fourth)
