"""Small networks and images for the tests of test-time adaptation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CLASSES = 5


class Attention(nn.Module):
    """Self-attention of one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).chunk(3, -1)
        return self.proj((query @ key.transpose(-1, -2)).softmax(-1) @ value)


class Transformer(nn.Module):
    """Patches, one attention, mean of the tokens."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.head = Attention(width), nn.Linear(width, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patch(image).flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(self.norm1(tokens))
        return self.head(self.norm2(tokens).mean(1))


def classifier(norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """A classifier of images."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        norm(6) if norm is not nn.GroupNorm else nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, CLASSES),
    )


def segmenter() -> nn.Module:
    """A network with a prediction for each pixel."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, CLASSES, 1)
    )


NETWORKS = {"classifier": classifier, "segmenter": segmenter, "transformer": Transformer}


def network(kind: str, seed: int = 0) -> nn.Module:
    """A network with large last weights, so that its predictions differ from each other."""
    torch.manual_seed(seed)
    made = NETWORKS[kind]()
    last = [m for m in made.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    with torch.no_grad():
        last.weight.mul_(5)
    return made.eval()


def images(count: int = 4, seed: int = 0, size: int = 8) -> Tensor:
    """Random images."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, size, size, generator=generator)
