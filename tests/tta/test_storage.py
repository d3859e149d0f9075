"""Frozen convolutions keep no input, and gradients stay the same to the bit."""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.tta.storage import FrozenConvolutions


class Network(nn.Module):
    """Convolutions of several kinds with norm layers between."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in (3, 8, 8))
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, image: Tensor) -> Tensor:
        hidden = F.relu6(self.norms[1](self.first(self.norms[0](image))), inplace=True)
        hidden = F.conv2d(hidden, weight=self.depthwise.weight, padding=1, groups=8)
        return self.last(F.relu(self.norms[2](hidden)))


def gradients(context: contextlib.AbstractContextManager[object], layout: torch.memory_format,
              moving: str = "norms") -> dict[str, Tensor]:  # fmt: skip
    torch.manual_seed(0)
    network = Network().to(memory_format=layout)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(moving))
    image = torch.randn(2, 3, 16, 16).to(memory_format=layout)
    with context:
        logits = network(image)
    logits.softmax(1).square().sum().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("moving", ["norms", ""], ids=["norms", "all"])
def test_same_gradients(layout: torch.memory_format, moving: str) -> None:
    plain = gradients(contextlib.nullcontext(), layout, moving)
    spare = gradients(FrozenConvolutions(), layout, moving)
    assert plain.keys() == spare.keys()
    assert all(torch.equal(plain[name], spare[name]) for name in plain)


def test_inputs_are_dropped() -> None:
    """Of the numbers that the graph keeps only those of the weight are left."""
    layer = nn.Conv2d(4, 4, 1).requires_grad_(False)
    hidden = torch.randn(1, 4, 8, 8, requires_grad=True) * 2
    with FrozenConvolutions():
        result = layer(hidden)
    kept = result.grad_fn._saved_input
    assert kept.shape == hidden.shape
    assert kept.data_ptr() != hidden.data_ptr()
    assert layer(hidden).grad_fn._saved_input.data_ptr() == hidden.data_ptr()


def test_autocast() -> None:
    """With passes in bfloat16 too, whose weights are casts."""
    with torch.autocast("cpu", torch.bfloat16):
        plain = gradients(contextlib.nullcontext(), torch.contiguous_format)
        spare = gradients(FrozenConvolutions(), torch.contiguous_format)
    assert all(torch.equal(plain[name], spare[name]) for name in plain)
