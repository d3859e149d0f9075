"""Any of torchvision's transforms as a view, on the device."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from uda.selftraining.views.base import IMAGENET_MEAN, IMAGENET_STD, View


class TorchvisionView(View):
    """Applies torchvision's v2 transforms to each image, with draws of its own.

    Only transforms that leave every pixel where it is are of use: labels are not passed along.

    Args:
        transforms: Transforms in their order, each as `dict(type="ColorJitter", brightness=0.4)`
            with the arguments of `torchvision.transforms.v2`, or as a module. A key `p` beside
            those of a transform that has none applies it with that probability.
        mean: See `View`.
        std: See `View`.

    Raises:
        ValueError: torchvision has no transform of that name.

    >>> view = TorchvisionView(transforms=[dict(type="GaussianBlur", kernel_size=3)])
    >>> view(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        *,
        transforms: Sequence[Mapping[str, Any] | torch.nn.Module],
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean=mean, std=std)
        self.transforms = v2.Compose([_build(item) for item in transforms])

    def change(self, image: Tensor) -> Tensor:
        """Each image by itself, since torchvision draws once a call."""
        clipped = image.clamp(0, 1)
        return torch.stack([self.transforms(single) for single in clipped])


def _build(item: Mapping[str, Any] | torch.nn.Module) -> torch.nn.Module:
    if isinstance(item, torch.nn.Module):
        return item
    arguments = dict(item)
    name = arguments.pop("type", None)
    cls = getattr(v2, str(name), None)
    if not (isinstance(cls, type) and issubclass(cls, torch.nn.Module)):
        near = difflib.get_close_matches(str(name), dir(v2), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"torchvision.transforms.v2 has no transform {name!r}.{hint}")
    probability = None
    if "p" in arguments and "p" not in cls.__init__.__code__.co_varnames:
        probability = arguments.pop("p")
    transform: torch.nn.Module = cls(**arguments)
    return transform if probability is None else v2.RandomApply([transform], p=probability)
