"""What forward passes keep for their backward passes: most of an adaptation's memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


class FrozenConvolutions(TorchFunctionMode):
    """A context in which a convolution whose weight needs no gradient does not keep its input.

    Autograd keeps it always, though only the weight's gradient would read it. Where norm layers
    alone move, these inputs are a third of all that is kept. Gradients are the same to the bit.

    >>> layer = torch.nn.Conv2d(3, 4, 3).requires_grad_(False)
    >>> image = torch.ones(1, 3, 8, 8, requires_grad=True)
    >>> with FrozenConvolutions():
    ...     loss = layer(image).sum()
    >>> loss.backward()
    >>> image.grad.shape
    torch.Size([1, 3, 8, 8])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call what was called, convolutions with hooks that drop the input."""
        given = dict(kwargs or {})
        if func not in _CONVOLUTIONS or not torch.is_grad_enabled():
            return func(*args, **given)
        weight = args[1] if len(args) > 1 else given.get("weight")
        if not isinstance(weight, Tensor) or weight.requires_grad:
            return func(*args, **given)
        shape = weight.shape  # a cast of the weight has it too

        def pack(tensor: Tensor) -> Any:
            if tensor.shape == shape:
                return tensor
            return tensor.shape, tensor.stride(), tensor.dtype, tensor.device

        with saved_tensors_hooks(pack, _room):
            return func(*args, **given)


def _room(kept: Any) -> Tensor:
    """A tensor of the size that the backward pass asks for; its values are read by nobody."""
    if isinstance(kept, Tensor):
        return kept
    shape, stride, dtype, device = kept
    return torch.empty_strided(shape, stride, dtype=dtype, device=device)
