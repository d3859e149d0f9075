"""Low-rank adapters beside linear layers and 1x1 convolutions, as ViDA puts them in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MARK = "adapter_"  # starts the name of every parameter that an adapter adds
Where = Callable[[str, nn.Module], bool]


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
        self.linear = linear
        _add_branches(self, linear.weight, low=low, high=high, generator=generator)

    def forward(self, values: Tensor) -> Tensor:
        """The layer's output with both branches."""
        result: Tensor = self.linear(values)
        for scale, down, up in _branches(self):
            result = result + scale * nn.functional.linear(nn.functional.linear(values, down), up)
        return result


class AdaptedConvolution(nn.Module):
    """The same beside a 1x1 convolution, which is a linear layer at each pixel.

    The paper has adapters for transformers alone. Ranks are at most the numbers of channels: more
    would say nothing more.

    Args:
        convolution: The layer, see `is_pointwise`; it becomes `convolution` of this one.
        low: Rank of the first branch.
        high: Rank of the second.
        generator: Draws the start, on the CPU.

    Raises:
        ValueError: A rank is below 1, or the convolution is another kind.
    """

    scale_low: Tensor
    scale_high: Tensor

    def __init__(
        self,
        convolution: nn.Conv2d,
        *,
        low: int,
        high: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if not is_pointwise(convolution):
            raise ValueError(
                "Adapters go beside convolutions of 1x1 pixels, without groups and padding, not "
                f"beside {convolution}."
            )
        self.convolution = convolution
        most = min(convolution.in_channels, convolution.out_channels)
        ranks = {"low": min(low, most), "high": min(high, most)}
        _add_branches(self, convolution.weight.flatten(1), **ranks, generator=generator)

    def forward(self, values: Tensor) -> Tensor:
        """The layer's output with both branches."""
        result: Tensor = self.convolution(values)
        convolve, stride = nn.functional.conv2d, self.convolution.stride
        for scale, down, up in _branches(self):
            hidden = convolve(values, down[:, :, None, None], stride=stride)
            result = result + scale * convolve(hidden, up[:, :, None, None])
        return result


Adapted = AdaptedLinear | AdaptedConvolution


def is_pointwise(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that looks at one pixel and all its channels.

    >>> is_pointwise(nn.Conv2d(3, 8, 1)), is_pointwise(nn.Conv2d(8, 8, 1, groups=8))
    (True, False)
    """
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == (1, 1)
        and layer.groups == 1
        and layer.padding in ((0, 0), "valid", "same")
    )


def in_attention(name: str, owner: nn.Module) -> bool:
    """Whether a module is an attention, by the name of its class."""
    return "attention" in type(owner).__name__.lower()


def adaptable_layers(network: nn.Module, where: Where | None = None) -> dict[str, nn.Module]:
    """The layers that `inject` would put adapters beside, by name.

    Args:
        network: Any module.
        where: Of the name and module that hold a layer directly: its linear layers and 1x1
            convolutions. None: the linear layers of modules whose class is named ...Attention...,
            as in the released code; in a network without any, all 1x1 convolutions.

    >>> list(adaptable_layers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1))))
    ['1']
    """
    found: dict[str, nn.Module] = {}
    for name, owner in network.named_modules():
        if isinstance(owner, AdaptedLinear | AdaptedConvolution):
            continue
        if not (where or in_attention)(name, owner):
            continue
        for key, child in owner.named_children():
            # A subclass may be read by its owner without being called (torch's own attention).
            if type(child) is nn.Linear or (where is not None and is_pointwise(child)):
                found[f"{name}.{key}" if name else key] = child
    if found or where is not None or _has_adapters(network):
        return found
    return {name: layer for name, layer in network.named_modules() if name and is_pointwise(layer)}


def inject(
    network: nn.Module,
    *,
    low: int,
    high: int,
    where: Where | None = None,
    generator: torch.Generator | None = None,
) -> list[str]:
    """Put adapters beside layers of a network.

    Args:
        network: Changed in place.
        low: Rank of the first branch.
        high: Rank of the second.
        where: Which layers, see `adaptable_layers`.
        generator: Draws the start of the adapters.

    Returns:
        Names of the adapted layers.
    """
    layers = adaptable_layers(network, where)
    for name, layer in layers.items():
        holder, _, key = name.rpartition(".")
        adapted: nn.Module
        if isinstance(layer, nn.Linear):
            adapted = AdaptedLinear(layer, low=low, high=high, generator=generator)
        elif isinstance(layer, nn.Conv2d):
            adapted = AdaptedConvolution(layer, low=low, high=high, generator=generator)
        else:
            continue
        setattr(network.get_submodule(holder), key, adapted)
    return list(layers)


def adapters(network: nn.Module) -> dict[str, Adapted]:
    """The adapted layers of a network by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, AdaptedLinear | AdaptedConvolution)
    }


def described(network: nn.Module) -> dict[str, str]:
    """Which layers have which adapters.

    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 1))
    >>> inject(network, low=1, high=128)
    ['1']
    >>> described(network)
    {'1': '1x1 convolution 8 -> 16, ranks 1 and 8'}
    """
    lines = {}
    for name, layer in adapters(network).items():
        kind = "linear" if isinstance(layer, AdaptedLinear) else "1x1 convolution"
        ups = [up for _, _, up in _branches(layer)]
        downs = [down for _, down, _ in _branches(layer)]
        lines[name] = (
            f"{kind} {downs[0].shape[1]} -> {ups[0].shape[0]}, ranks {len(downs[0])} and "
            f"{len(downs[1])}"
        )
    return lines


def set_scales(network: nn.Module, *, low: float, high: float) -> None:
    """Give all adapters of a network the same pair of scales."""
    for module in adapters(network).values():
        module.scale_low = torch.full_like(module.scale_low, low)
        module.scale_high = torch.full_like(module.scale_high, high)


def _add_branches(
    layer: nn.Module, like: Tensor, *, low: int, high: int, generator: torch.Generator | None
) -> None:
    """Parameters and scales of both branches; `like` is the weight (out, in) beside them."""
    if min(low, high) < 1:
        raise ValueError(f"ranks of adapters have to be at least 1, not {low} and {high}.")
    for name, rank in (("low", low), ("high", high)):
        down = torch.randn(rank, like.shape[1], generator=generator) / rank**2
        up = torch.zeros(like.shape[0], rank)
        layer.register_parameter(f"{MARK}down_{name}", nn.Parameter(_alike(down, like)))
        layer.register_parameter(f"{MARK}up_{name}", nn.Parameter(_alike(up, like)))
        layer.register_buffer(f"scale_{name}", _alike(torch.ones(()), like))


def _alike(value: Tensor, like: Tensor) -> Tensor:
    return value.to(device=like.device, dtype=like.dtype)


def _branches(layer: Adapted) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Scale, down and up of the low- and the high-rank branch."""
    return [
        (scale, getattr(layer, f"{MARK}down_{name}"), getattr(layer, f"{MARK}up_{name}"))
        for scale, name in ((layer.scale_low, "low"), (layer.scale_high, "high"))
    ]


def _has_adapters(network: nn.Module) -> bool:
    return bool(adapters(network))
