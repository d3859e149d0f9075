"""Pictures of a training batch: what student and teacher see, and what they make of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from uda.engine.live.sheet import NOTHING, Tile, hatched, sheet
from uda.structures import IGNORE_INDEX, as_output

IGNORED_COLOUR = (0, 0, 0)
REJECTED = "rejected, or without label"
# Row by row: what the student learns from, then the target. A label stands behind its image.
_ROWS = (
    ("source_image", "source_label", "mixed_image", "mixed_label"),
    ("target_image", "pseudo_label"),
)
_NETWORKS = 2  # how many predictions are shown


@torch.no_grad()
def predictions(networks: Mapping[str, nn.Module], image: Tensor | None) -> dict[str, Tensor]:
    """Labels (N, H, W) that the first networks predict for `image` (N, 3, H, W), by name.

    They predict in evaluation mode, which draws nothing and moves no running statistic; afterwards
    they are in the modes they were in.
    """
    if image is None:
        return {}
    found = {}
    for name, network in list(networks.items())[:_NETWORKS]:
        with _evaluating(network):
            found[name] = as_output(network(image)).logits.argmax(1)
    return found


@contextlib.contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def overview(
    tensors: Mapping[str, Tensor],
    predicted: Mapping[str, Tensor] | None = None,
    *,
    palette: Sequence[Sequence[int]],
    class_names: Sequence[str],
    mean: Tensor,
    std: Tensor,
    width: int = 320,
) -> np.ndarray:
    """Two rows an image, what is learnt from above the target, with captions and a legend.

    Pixels without a label, and those of weight 0, are hatched. Where weights of pseudo-labels
    differ between kept pixels they are shown in grey, 1 as white.

    Args:
        tensors: From `Method.show`: names ending in `_image` (N, 3, H, W), `_label` (N, H, W) or
            `_weight` (N, H, W).
        predicted: Labels (N, H, W) by network, from `predictions`.
        palette: RGB colour of each class.
        class_names: Name of each class.
        mean: (3,) subtracted from RGB in 0..255.
        std: (3,) RGB was divided by.
        width: Of a tile, in pixels.

    Returns:
        (height, width, 3) uint8, RGB.
    """
    on_host = {name: value.detach().cpu() for name, value in tensors.items()}
    guesses = {name: value.cpu() for name, value in (predicted or {}).items()}
    mean, std = mean.cpu().view(3, 1, 1), std.cpu().view(3, 1, 1)
    rows = []
    for number in range(len(next(iter(on_host.values())))):
        one = {name: value[number] for name, value in on_host.items()}
        draw = _Draw(palette, mean, std, _size(one, width))
        for names in _ROWS:
            rows.append([draw.tile(name, one) for name in names if name in one])
        rows[-1] += draw.weights(one)
        rows[-1] += [
            Tile(f"{name} on target" if "target_image" in one else name, draw.label(guess[number]))
            for name, guess in guesses.items()
        ]
    legend = [*zip(class_names, palette, strict=False), (REJECTED, None)]
    return sheet(rows, legend)


class _Draw:
    """Draws the tensors of one image at the size of a tile."""

    def __init__(
        self, palette: Sequence[Sequence[int]], mean: Tensor, std: Tensor, size: tuple[int, int]
    ) -> None:
        self.palette, self.mean, self.std, self.size = palette, mean, std, size

    def tile(self, name: str, tensors: Mapping[str, Tensor]) -> Tile:
        """The tile of an image or a label."""
        value, caption = tensors[name], name.replace("_", " ")
        if name.endswith("_image"):
            pixels = (value * self.std + self.mean).clamp(0, 255).byte().permute(1, 2, 0)
            return Tile(caption, self._resize(np.asarray(pixels), cv2.INTER_AREA))
        weight = tensors.get(name.replace("_label", "_weight"))
        if name == "pseudo_label":
            kept = (value != IGNORE_INDEX).float() if weight is None else weight.float()
            caption = f"pseudo-label, kept {kept.mean():.0%}"
        return Tile(caption, self.label(value, weight))

    def label(self, label: Tensor, weight: Tensor | None = None) -> np.ndarray:
        """The colours of a label (H, W); hatched where it has none, or no weight."""
        nothing = label == IGNORE_INDEX
        if weight is not None:
            nothing |= weight == 0
        colours = colour_label(label, self.palette)
        colours[np.asarray(label == IGNORE_INDEX)] = NOTHING
        colours = self._resize(colours, cv2.INTER_NEAREST)
        where = self._resize(np.asarray(nothing, np.uint8), cv2.INTER_NEAREST)
        return hatched(colours, where > 0)

    def weights(self, tensors: Mapping[str, Tensor]) -> list[Tile]:
        """The weights of pseudo-labels, where kept pixels have different ones."""
        weight = tensors.get("pseudo_weight")
        if weight is None or weight[weight > 0].unique().numel() < 2:
            return []
        grey = (weight.float() * 255).clamp(0, 255).byte().unsqueeze(-1).expand(-1, -1, 3)
        return [Tile("weight", self._resize(np.asarray(grey), cv2.INTER_AREA))]

    def _resize(self, pixels: np.ndarray, way: int) -> np.ndarray:
        resized: np.ndarray = cv2.resize(np.ascontiguousarray(pixels), self.size, interpolation=way)
        return resized


def _size(tensors: Mapping[str, Tensor], width: int) -> tuple[int, int]:
    """Width and height of a tile."""
    height, wide = next(iter(tensors.values())).shape[-2:]
    return width, max(1, round(height * width / wide))


def colour_label(label: Tensor, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """(H, W, 3) uint8 RGB colours of a label (H, W); ignored pixels are black."""
    table = torch.zeros(256, 3, dtype=torch.uint8)
    table[:] = torch.tensor(IGNORED_COLOUR, dtype=torch.uint8)
    table[: len(palette)] = torch.tensor(palette, dtype=torch.uint8)
    return np.asarray(table[label.long().cpu()])
