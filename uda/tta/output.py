"""Logits from whatever a model returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from uda.structures import NetworkOutput

Output = str | int | Callable[[Any], Tensor] | None
Precision = Literal["full", "bfloat16", "float16"]


def run(network: nn.Module, image: Tensor, output: Output, precision: Precision) -> Tensor:
    """The logits of a network, by autocast unless the precision is `"full"`."""
    if precision == "full":
        return logits_of(network(image), output)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float16
    with torch.autocast(image.device.type, dtype):
        result = network(image)
    return logits_of(result, output)


def logits_of(result: Any, output: Output = None) -> Tensor:
    """The logits (N, K) or (N, K, H, W) in what a model returned.

    Args:
        result: A tensor, a `NetworkOutput`, or a mapping or sequence with `output` to choose by.
        output: Key of a mapping, index of a sequence, or a function of the result.

    Raises:
        TypeError: There is no tensor where `output` points, or a choice is needed.
        ValueError: The key or index is not there, or the shape is not that of logits.

    >>> logits_of({"out": torch.zeros(1, 3), "aux": None}, "out").shape
    torch.Size([1, 3])
    """
    if isinstance(result, NetworkOutput) and output is None:
        result = result.logits
    elif callable(output):
        result = output(result)
    elif output is not None:
        result = _chosen(result, output)
    if not isinstance(result, Tensor):
        raise TypeError(
            f"The model gave {_described(result)} where logits were wanted; say where they are by "
            'output=: a key such as "out", an index, or a function of what the model returns.'
        )
    if result.ndim < 2 or result.ndim == 3 or not result.is_floating_point():
        raise ValueError(
            "Logits have to be floats of shape (N, K) or (N, K, H, W), the model gave "
            f"{tuple(result.shape)} of {result.dtype}; see output=."
        )
    # Losses and thresholds need more than half precision has.
    return result.float() if result.dtype in (torch.float16, torch.bfloat16) else result


def _chosen(result: Any, output: str | int) -> Any:
    try:
        return result[output]
    except (KeyError, IndexError, TypeError):
        if isinstance(output, str) and hasattr(result, output):
            return getattr(result, output)
        raise ValueError(
            f"output={output!r} is not in what the model returned: {_described(result)}."
        ) from None


def _described(result: Any) -> str:
    if isinstance(result, Mapping):
        return f"a {type(result).__name__} with the keys {list(result)}"
    if isinstance(result, Sequence) and not isinstance(result, str):
        return f"a {type(result).__name__} of {len(result)}"
    return f"a {type(result).__name__}"
