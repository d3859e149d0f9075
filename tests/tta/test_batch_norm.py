"""Moments and batch normalisation on CPUs: torch's values and gradients, at another speed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.tta.tiny import network
from uda.tta import adapt, batch_norm
from uda.tta.batch_norm import FastBatchNorm, moments

# Maps large enough to be taken image by image, then small ones, other layouts, no maps.
SHAPES = [(3, 4, 32, 40), (3, 4, 2, 3), (5, 4), (3, 4, 2048), (2, 3, 8, 16, 16)]


def values_of(shape: tuple[int, ...], *, far: float = 30.0) -> Tensor:
    """Values whose mean is far from 0, in double precision."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + far


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("unbiased", [False, True])
def test_moments_values(shape: tuple[int, ...], unbiased: bool) -> None:
    """Those of torch.var_mean, also where the mean is large, in float32 and of bfloat16."""
    values = values_of(shape)
    dims = [dim for dim in range(len(shape)) if dim != 1]
    variance, mean = torch.var_mean(values, dims, correction=int(unbiased))
    torch.testing.assert_close(moments(values, unbiased=unbiased), (mean, variance))
    found = moments(values.float(), unbiased=unbiased)
    torch.testing.assert_close(found, (mean.float(), variance.float()), rtol=1e-5, atol=1e-5)
    half = moments(values.bfloat16(), unbiased=unbiased)
    assert half[0].dtype == torch.float32


def test_moments_grad() -> None:
    """With gradient the bits of those without, and the gradient of torch's."""
    found = []
    for make in (moments, lambda values, unbiased: torch.var_mean(values, (0, 2, 3))[::-1]):
        values = values_of((3, 4, 32, 40)).requires_grad_()
        mean, variance = make(values, unbiased=True)
        (mean.sin() + variance.square()).sum().backward()
        found.append(values.grad)
    torch.testing.assert_close(found[0], found[1])
    values = values_of((3, 4, 32, 40)).requires_grad_()
    with_graph, without = (moments(v, unbiased=True) for v in (values, values.detach()))
    assert all(torch.equal(a, b) for a, b in zip(with_graph, without, strict=True))


def test_teacher_rounds_as_its_student() -> None:
    """Equal networks give equal bits, or Adam would make visible steps of the difference."""
    image = torch.rand(4, 3, 40, 40)
    for statistics in ("batch", "blend"):
        model = adapt(network("segmenter"), "tent", statistics=statistics, guard=False)
        model.predict(image)
        student = model.learner.forward(image).detach()
        assert torch.equal(model.learner.teach(model.network, image), student)


def test_moments_layout() -> None:
    """Channels-last and sliced maps give the same."""
    values = values_of((3, 4, 32, 40))
    wanted = moments(values, unbiased=False)
    last = values.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(moments(last, unbiased=False), wanted)
    torch.testing.assert_close(moments(values.flip(0)[::1], unbiased=False), wanted)


def test_moments_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass of torch.var_mean anywhere but on a CPU, where it is slow."""
    calls: list[torch.device] = []
    var_mean = torch.var_mean

    def noted(values: Tensor, *arguments: object, **settings: object) -> tuple[Tensor, Tensor]:
        calls.append(values.device)
        return var_mean(values, *arguments, **settings)

    monkeypatch.setattr(batch_norm.torch, "var_mean", noted)
    moments(torch.zeros(2, 3, 4, 4), unbiased=True)
    assert calls == []
    mean, variance = moments(torch.zeros(2, 3, 4, 4, device="meta"), unbiased=True)
    assert [device.type for device in calls] == ["meta"]
    assert mean.shape == variance.shape == (3,)


@pytest.mark.parametrize("affine", [True, False])
def test_fast_batch_norm_values(affine: bool) -> None:
    """Outputs, gradients and stored statistics of torch's own, with and without weights."""
    results = []
    for fast in (False, True):
        torch.manual_seed(0)
        layer = nn.BatchNorm2d(4, affine=affine, momentum=0.3).double()
        values = values_of((3, 4, 32, 40)).requires_grad_()
        if fast:
            with FastBatchNorm():
                found = layer(values)
            assert "Normalised" in type(found.grad_fn).__name__
        else:
            found = layer(values)
        found.square().mul(torch.arange(40.0)).sum().backward()
        grads = [p.grad for p in layer.parameters()]
        results.append([found, values.grad, *grads, layer.running_mean, layer.running_var])
        assert layer.num_batches_tracked == 1
    torch.testing.assert_close(results[0], results[1])


def test_fast_batch_norm_grad() -> None:
    """The gradient flows through mean and variance."""
    layer = nn.BatchNorm1d(1).double()

    def run(values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        stored = (layer.running_mean, layer.running_var)
        with FastBatchNorm():
            found = nn.functional.batch_norm(values, None, None, weight, bias, True)
        assert stored[0] is layer.running_mean
        return found[:, :, ::512]  # few enough numbers for finite differences

    values = torch.randn(1, 1, 4096, dtype=torch.float64)
    weight, bias = (torch.randn(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda w, b: run(values, w, b), (weight, bias))
    start = values.clone()

    def moved(change: Tensor) -> Tensor:
        return run(start + nn.functional.pad(change, (0, 4096 - 4)), weight.detach(), bias.detach())

    change = torch.zeros(1, 1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(moved, (change,))


def test_fast_batch_norm_leaves_others() -> None:
    """Evaluation mode, small maps, other layouts and types are torch's own to the bit."""
    large = values_of((3, 4, 32, 40)).float()
    cases = [
        (nn.BatchNorm2d(4).eval(), large),
        (nn.BatchNorm2d(4), large[:, :, :2, :2].contiguous()),
        (nn.BatchNorm2d(4), large.contiguous(memory_format=torch.channels_last)),
        (nn.BatchNorm2d(4).bfloat16(), large.bfloat16()),
    ]
    for layer, values in cases:
        wanted = layer(values)
        with FastBatchNorm():
            assert torch.equal(layer(values), wanted)
