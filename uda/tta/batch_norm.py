"""Moments of a batch, and batch normalisation by them, at the speed that each device allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

_ARGUMENTS = (
    "input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps",
)  # fmt: skip


def moments(values: Tensor, *, unbiased: bool) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of (N, C, ...), at least in float32, with gradient.

    On a CPU they take two passes, since `torch.var_mean` takes up to twenty times as long there;
    anywhere else they are `torch.var_mean`, one pass.

    >>> mean, variance = moments(torch.tensor([[1.0], [3.0]]), unbiased=False)
    >>> mean.item(), variance.item()
    (2.0, 1.0)
    """
    full = values if values.dtype in (torch.float32, torch.float64) else values.float()
    if full.device.type != "cpu":
        dims = [dim for dim in range(full.ndim) if dim != 1]
        variance, mean = torch.var_mean(full, dims, correction=int(unbiased))
        return mean, variance
    if _by_image(full):
        # With and without gradient the same bits: a teacher that equals its student must say so.
        graph = torch.is_grad_enabled() and full.requires_grad
        mean, squares = _Sums.apply(full) if graph else _sums_by_image(full)
    else:
        mean, squares = _sums(full)
    return mean, squares / (full.numel() // full.shape[1] - int(unbiased))


def _by_image(values: Tensor) -> bool:
    """Whether maps lie one after another, and an image is large enough to be worth a turn."""
    if torch.compiler.is_compiling():
        return False  # a graph of any number of images has no turns
    large = values.numel() >= 4096 * values.shape[0]
    return large and values.ndim > 2 and values.is_contiguous()


def _sums(values: Tensor) -> tuple[Tensor, Tensor]:
    """Means, and sums of squared differences from them."""
    dims = [dim for dim in range(values.ndim) if dim != 1]
    mean = values.mean(dims, keepdim=True)
    centred = values - mean
    squares = centred.square() if centred.requires_grad else centred.square_()
    return mean.flatten(), squares.sum(dims)


def _sums_by_image(values: Tensor) -> tuple[Tensor, Tensor]:
    """The same without gradient and three times as fast: temporaries are small enough to cache."""
    maps = values.detach().flatten(2)
    mean = maps.sum(2).sum(0) / (maps.shape[0] * maps.shape[2])
    column = mean.unsqueeze(1)
    squares = torch.zeros_like(mean)
    for image in maps:
        squares += torch.linalg.vector_norm(image - column, dim=1).square()
    return mean, squares


class _Sums(torch.autograd.Function):
    """`_sums_by_image` with gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        mean, squares = _sums_by_image(values)
        ctx.save_for_backward(values, mean)
        return mean, squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, mean_gradient: Tensor, squares_gradient: Tensor) -> Tensor:
        values, mean = ctx.saved_tensors
        shape = [1, -1, *[1] * (values.ndim - 2)]
        offset = mean_gradient / (values.numel() // values.shape[1]) - 2 * squares_gradient * mean
        return torch.addcmul(offset.view(shape), values, 2 * squares_gradient.view(shape))


class FastBatchNorm(TorchFunctionMode):
    """A context in which batch normalisation by the batch takes its moments in vectorised passes.

    Torch's own kernel for CPUs adds up single values in double precision, and most of a step of
    TENT over a convolutional network beyond its convolutions is that. Results differ by rounding;
    other devices, types and layouts get torch's kernel.

    >>> layer = torch.nn.BatchNorm2d(3)
    >>> image = torch.rand(2, 3, 4, 4)
    >>> with FastBatchNorm():
    ...     found = layer(image)
    >>> torch.allclose(found, torch.nn.BatchNorm2d(3)(image), atol=1e-6)
    True
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call what was called, batch normalisation by the batch in another way."""
        given = dict(kwargs or {})
        if func is F.batch_norm:
            call: dict[str, Any] = dict.fromkeys(_ARGUMENTS)
            call.update(training=False, momentum=0.1, eps=1e-5)
            call.update(zip(_ARGUMENTS, args, strict=False))
            call.update(given)
            if call["training"] and _is_fast(call["input"]):
                return _by_batch(**call)
        return func(*args, **given)


def _is_fast(values: Any) -> bool:
    return (
        isinstance(values, Tensor)
        and values.device.type == "cpu"
        and values.dtype in (torch.float32, torch.float64)
        and _by_image(values)
        and values.numel() > values.shape[1]
    )


def _by_batch(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """What `F.batch_norm` gives in training mode; stored statistics follow likewise."""
    mean, squares = _sums_by_image(input)
    count = input.numel() // input.shape[1]
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((squares / (count - 1)).to(running_var.dtype), momentum)
    result: Tensor = _Normalised.apply(input, weight, bias, mean, squares / count, eps)
    return result


class _Normalised(torch.autograd.Function):
    """Normalisation by the batch's own moments, which the gradient flows through."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(values, weight, mean, (variance + eps).rsqrt())
        ctx.eps = eps
        return F.batch_norm(values, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, inverse = ctx.saved_tensors
        wanted = [bool(needed) for needed in ctx.needs_input_grad[:3]]
        found = torch.ops.aten.native_batch_norm_backward(
            gradient.contiguous(), values, weight, None, None, mean, inverse, True, ctx.eps, wanted
        )
        return *(f if w else None for f, w in zip(found, wanted, strict=True)), None, None, None
