"""Low-rank adapters beside linear layers, as ViDA puts them in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MARK = "adapter_"  # starts the name of every parameter that an adapter adds


class AdaptedLinear(nn.Module):
    """`y = W x + b + s_low U1 D1 x + s_high U2 D2 x`.

    Liu et al., "ViDA", ICLR 2024, eq. 1. Down-projections start normal with deviation 1/r^2, ups at
    0, so that the network computes what it did before.

    Args:
        linear: The layer; it becomes `linear` of this one.
        low: Rank of the first branch.
        high: Rank of the second.
        generator: Draws the start, on the CPU.

    Raises:
        ValueError: A rank is below 1.
    """

    scale_low: Tensor
    scale_high: Tensor

    def __init__(
        self, linear: nn.Linear, *, low: int, high: int, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if min(low, high) < 1:
            raise ValueError(f"ranks of adapters have to be at least 1, not {low} and {high}.")
        self.linear = linear
        like = linear.weight
        for name, rank in (("low", low), ("high", high)):
            down = torch.randn(rank, linear.in_features, generator=generator) / rank**2
            up = torch.zeros(linear.out_features, rank)
            self.register_parameter(f"{MARK}down_{name}", nn.Parameter(down.to(like)))
            self.register_parameter(f"{MARK}up_{name}", nn.Parameter(up.to(like)))
            self.register_buffer(f"scale_{name}", torch.ones((), dtype=like.dtype).to(like))

    def forward(self, values: Tensor) -> Tensor:
        """The layer's output with both branches."""
        result: Tensor = self.linear(values)
        for scale, name in ((self.scale_low, "low"), (self.scale_high, "high")):
            down, up = getattr(self, f"{MARK}down_{name}"), getattr(self, f"{MARK}up_{name}")
            result = result + scale * nn.functional.linear(nn.functional.linear(values, down), up)
        return result


def in_attention(name: str, owner: nn.Module) -> bool:
    """Whether a module is an attention, by the name of its class."""
    return "attention" in type(owner).__name__.lower()


def inject(
    network: nn.Module,
    *,
    low: int,
    high: int,
    where: Callable[[str, nn.Module], bool] = in_attention,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Put adapters beside the linear layers that modules chosen by `where` hold directly.

    Args:
        network: Changed in place.
        low: Rank of the first branch.
        high: Rank of the second.
        where: Of the name and module that hold the layer.
        generator: Draws the start of the adapters.

    Returns:
        Names of the adapted layers.
    """
    owners = [
        (name, owner)
        for name, owner in network.named_modules()
        if where(name, owner) and not isinstance(owner, AdaptedLinear)
    ]
    adapted = []
    for name, owner in owners:
        for key, child in list(owner.named_children()):
            # A subclass may be read by its owner without being called (torch's own attention).
            if type(child) is nn.Linear:
                layer = AdaptedLinear(child, low=low, high=high, generator=generator)
                setattr(owner, key, layer)
                adapted.append(f"{name}.{key}" if name else key)
    return adapted


def set_scales(network: nn.Module, *, low: float, high: float) -> None:
    """Give all adapters of a network the same pair of scales."""
    for module in network.modules():
        if isinstance(module, AdaptedLinear):
            module.scale_low = torch.full_like(module.scale_low, low)
            module.scale_high = torch.full_like(module.scale_high, high)
