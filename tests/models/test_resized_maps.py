"""Linear layers before resizing give what they give after it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.models import DAFormerHead
from uda.models.resized_maps import depthwise_of_resized, pointwise, resized_sum

SIDES = st.integers(1, 9)
SIZES = st.tuples(SIDES, SIDES)


def resized(one: Tensor, size: tuple[int, int], align: bool) -> Tensor:
    """By torch."""
    return F.interpolate(one, size, mode="bilinear", align_corners=align)


def test_depthwise_values() -> None:
    """By hand: 1 and 3, doubled in width, are 1, 1.5, 2.5, 3; the kernel takes 2 x left + right."""
    image = torch.tensor([[[[1.0, 3.0]]]])
    kernel = torch.tensor([[[[2.0, 0.0, 1.0]]]])
    found = depthwise_of_resized(image, kernel, (1, 4), dilation=1, align_corners=False)
    assert found.flatten().tolist() == [1.5, 4.5, 6.0, 5.0]


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, st.integers(1, 12), st.booleans(), st.integers(0, 99))
def test_depthwise_properties(
    small: tuple[int, int], size: tuple[int, int], dilation: int, align: bool, seed: int
) -> None:
    """The convolution of the resized map, with the same gradients, also beyond the border."""
    torch.manual_seed(seed)
    image = torch.randn(2, 3, *small, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    large = resized(image, size, align)
    wanted = F.conv2d(large, weight, padding=dilation, dilation=dilation, groups=3)
    found = depthwise_of_resized(image, weight, size, dilation=dilation, align_corners=align)
    torch.testing.assert_close(found, wanted)
    seen = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad(found, (image, weight), seen),
        torch.autograd.grad(wanted, (image, weight), seen),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@settings(max_examples=40, deadline=None)
@given(st.lists(SIZES, min_size=1, max_size=4), SIZES, st.booleans())
def test_sum_properties(sizes: list[tuple[int, int]], size: tuple[int, int], align: bool) -> None:
    """The sum of the maps that torch resizes, whether some have the size already or none has."""
    torch.manual_seed(0)
    maps = [torch.randn(2, 3, *one, dtype=torch.float64) for one in [*sizes, size]]
    for given_maps in (maps, maps[:-1]):
        wanted = sum(resized(one, size, align) for one in given_maps)
        torch.testing.assert_close(resized_sum(given_maps, size, align_corners=align), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pointwise_values(dtype: torch.dtype) -> None:
    """A 1x1 convolution and its gradients, whichever way torch takes."""
    torch.manual_seed(0)
    image = torch.randn(2, 4, 5, 6, dtype=dtype, requires_grad=True)
    weight = torch.randn(3, 4, 1, 1, dtype=dtype, requires_grad=True)
    found, wanted = pointwise(image, weight), F.conv2d(image, weight)
    torch.testing.assert_close(found, wanted)
    for ours, theirs in zip(
        torch.autograd.grad(found.square().sum(), (image, weight)),
        torch.autograd.grad(wanted.square().sum(), (image, weight)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("fusion", ["separable_aspp", "conv1x1"])
def test_head_resizing_properties(fusion: str, align: bool) -> None:
    """Both orders of the head: logits, gradients, running statistics, on sides that do not fit."""
    torch.manual_seed(0)
    last = DAFormerHead(
        in_channels=(8, 16, 20, 32),
        num_classes=5,
        channels=12,
        fusion=fusion,
        align_corners=align,
        dropout_ratio=0.0,
    ).double()
    first = copy.deepcopy(last)
    first.resizing = "first"
    shapes = ((8, 33, 25), (16, 17, 13), (20, 9, 7), (32, 5, 4))
    maps = [torch.randn(2, *shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    found = []
    for head in (last, first):
        logits = head(maps)
        inputs = [*maps, *head.parameters()]
        found.append((logits, *torch.autograd.grad(logits.square().sum(), inputs)))
        found[-1] += tuple(head.buffers())
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_bfloat16_properties() -> None:
    """Under autocast both orders agree as well as bfloat16 does."""
    torch.manual_seed(0)
    head = DAFormerHead(in_channels=(4, 8), in_index=(0, 1), num_classes=3, channels=8)
    head.eval()
    maps = [torch.randn(1, 4, 16, 16), torch.randn(1, 8, 8, 8)]
    wanted = head(maps)
    for resizing in ("first", "last"):
        head.resizing = resizing
        with torch.autocast("cpu", torch.bfloat16):
            logits = head(maps)
        assert logits.dtype == torch.bfloat16
        assert (logits - wanted).abs().max() < 0.03 * wanted.abs().max()


def test_resizing_errors() -> None:
    """One of two orders."""
    with pytest.raises(ValueError, match='resizing has to be "first" or "last", not \'middle\''):
        DAFormerHead(in_channels=(4,), in_index=(0,), num_classes=3, resizing="middle")  # type: ignore[arg-type]
