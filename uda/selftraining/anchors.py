"""Which pixels are contrasted with each other."""

from __future__ import annotations

import torch
from torch import Tensor


def choose_anchors(
    label: Tensor,
    predicted: Tensor,
    *,
    num_classes: int,
    most: int = 1024,
    per_class: int = 100,
    min_pixels: int = 100,
) -> tuple[Tensor, Tensor]:
    """As many pixels of each class of each image, half of them predicted wrongly.

    A class of an image takes part if it has more than `min_pixels` pixels there. With G such
    groups, each gives `v = min(most // G, per_class)` pixels, at random: `v // 2` of those
    predicted wrongly and the others of those predicted rightly; where there are too few of one
    kind, more of the other (Wang et al., ICCV 2021; PiPa's `decode_head.py`). Nothing waits for the
    device.

    Args:
        label: (N, P) int64, P pixels of N images; what is no class is not chosen.
        predicted: (N, P) int64.
        num_classes: K.
        most: Upper bound on the number of all.
        per_class: Upper bound on the number of a group.
        min_pixels: See above.

    Returns:
        Indices of `min(most, N P)` pixels into the flattened label, and bool of the same length:
        which of them are chosen.
    """
    count, pixels = label.shape
    groups = count * num_classes
    image = torch.arange(count, device=label.device).unsqueeze(1)
    inside = (label >= 0) & (label < num_classes)
    group = torch.where(inside, image * num_classes + label, groups).flatten()
    wrong = (predicted != label).flatten()
    kind = 2 * group + wrong.to(group.dtype)  # right and wrong pixels of a group side by side
    numbers = torch.zeros(2 * (groups + 1), dtype=torch.int64, device=label.device)
    numbers = numbers.scatter_add(0, kind, torch.ones_like(kind))
    right_number, wrong_number = numbers.view(-1, 2).unbind(1)
    taking_part = right_number + wrong_number > min_pixels
    taking_part[-1] = False
    view = torch.div(most, taking_part.sum().clamp(min=1), rounding_mode="floor")
    view = view.clamp(min=1, max=per_class)
    take_wrong = torch.minimum(torch.maximum(view // 2, view - right_number), wrong_number)
    take = torch.stack([view - take_wrong, take_wrong], 1)
    take = torch.where(taking_part.unsqueeze(1), take, 0).flatten()
    kept = _places(kind, numbers) < take[kind]
    chosen = (~kept).to(torch.int8).argsort(stable=True)[: min(most, count * pixels)]
    return chosen, kept[chosen]


def _places(kind: Tensor, numbers: Tensor) -> Tensor:
    """A random place of each pixel among those of its kind, counted from 0."""
    order = torch.rand(kind.shape, device=kind.device).argsort()
    order = order[kind[order].argsort(stable=True)]
    first = numbers.cumsum(0) - numbers
    sorted_places = torch.arange(len(kind), device=kind.device) - first[kind[order]]
    return torch.empty_like(kind).scatter(0, order, sorted_places)
