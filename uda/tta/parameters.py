"""Which parameters a method moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

Parameters = dict[str, nn.Parameter]
Choice = Literal["norm", "all"] | Sequence[str] | Callable[[nn.Module], Mapping[str, nn.Parameter]]

_KNOWN = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises and has affine weights of its own.

    Beside torch's classes and what derives from them (SyncBatchNorm, timm's BatchNormAct2d) a
    module counts whose class is called `...Norm...` and that has a one-dimensional weight: networks
    often bring a normalisation of their own.
    """
    weight = module._parameters.get("weight")
    if isinstance(module, _KNOWN):
        return weight is not None
    return "norm" in type(module).__name__.lower() and weight is not None and weight.ndim == 1


def norm_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The normalisation layers with affine weights, by name, in the order of definition."""
    return {name: module for name, module in network.named_modules() if is_norm(module)}


def norm_parameters(network: nn.Module, skip: Sequence[str] = ()) -> Parameters:
    """Weights and biases of all normalisation layers, by name.

    Args:
        network: Any module.
        skip: Names of layers that are left out.
    """
    return {
        f"{name}.{key}" if name else key: parameter
        for name, module in norm_modules(network).items()
        if name not in skip
        for key, parameter in module._parameters.items()
        if key in ("weight", "bias") and parameter is not None
    }


def chosen_parameters(network: nn.Module, choice: Choice) -> Parameters:
    """The parameters that `choice` names.

    Args:
        network: Any module.
        choice: `"norm"`: affine weights of normalisation layers. `"all"`: everything. A sequence of
            prefixes of names. Or a function of the network that gives parameters by name.

    Raises:
        ValueError: A prefix fits no parameter, or `choice` is another string.
    """
    if callable(choice):
        return dict(choice(network))
    if choice == "norm":
        return norm_parameters(network)
    everything = dict(network.named_parameters())
    if choice == "all":
        return everything
    if isinstance(choice, str):
        raise ValueError(
            f'parameters has to be "norm", "all", a sequence of prefixes or a function, not '
            f"{choice!r}."
        )
    for prefix in choice:
        if not any(name.startswith(prefix) for name in everything):
            raise ValueError(f"No parameter of the model has a name that starts with {prefix!r}.")
    return {n: p for n, p in everything.items() if n.startswith(tuple(choice))}


def trained_layers(
    network: nn.Module, skip: Literal["last_quarter", "reference"] | Sequence[str]
) -> Parameters:
    """Norm parameters without those of the last layers, which SAR and DeYO leave alone.

    Args:
        network: Any module.
        skip: `"last_quarter"` (clean): the last quarter of the norm layers in order of definition,
            which are blocks 9 to 11 and the final norm of a ViT-B. `"reference"`: what the released
            code finds by `layer4`, `blocks.9`, `blocks.10`, `blocks.11` or `norm.` in the name, or
            the name `norm`; right for ResNet and ViT-B, in other networks it may drop nearly
            everything. Or a sequence of strings that names of skipped layers contain.
    """
    names = list(norm_modules(network))
    if skip == "last_quarter":
        skipped = names[len(names) - len(names) // 4 :]
    elif skip == "reference":
        parts = ("layer4", "blocks.9", "blocks.10", "blocks.11", "norm.")
        skipped = [n for n in names if n == "norm" or any(part in n for part in parts)]
    else:
        if isinstance(skip, str):
            raise ValueError(
                'skip has to be "last_quarter", "reference" or a sequence of strings, '
                f"not {skip!r}."
            )
        skipped = [n for n in names if any(part in n for part in skip)]
    return norm_parameters(network, skipped)
