"""Weighted cross-entropy: numbers by hand, torch's and mmseg's own, gradients, messages."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from uda.losses import pixel_accuracy, weighted_cross_entropy


def sample(seed: int = 0, ignored: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (2, 4, 3, 5) in float64, labels with some ignored pixels, weights in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 3, 5, generator=generator, dtype=torch.float64)
    label = torch.randint(4, (2, 3, 5), generator=generator)
    if ignored:
        label[0, 0] = 255
    return logits, label, torch.rand(2, 3, 5, generator=generator, dtype=torch.float64)


def test_weighted_cross_entropy_values() -> None:
    """Three pixels with probabilities (1/4, 3/4), (1/2, 1/2) and anything.

    Labels 0, 1 and ignored give losses log 4, log 2 and 0; weights 1, 0.5 and 1 make the sum
    log 4 + 0.5 log 2 = 2.5 log 2, over 3 pixels or over the 2 labelled ones.
    """
    logits = torch.tensor([[0.0, 0.0, 9.0], [math.log(3), 0.0, -9.0]]).view(1, 2, 1, 3)
    label = torch.tensor([[[0, 1, 255]]])
    weight = torch.tensor([[[1.0, 0.5, 1.0]]])
    loss = weighted_cross_entropy(logits, label, weight)
    torch.testing.assert_close(loss.item(), 2.5 * math.log(2) / 3)
    loss = weighted_cross_entropy(logits, label, weight, average="valid")
    torch.testing.assert_close(loss.item(), 2.5 * math.log(2) / 2)


def test_weighted_cross_entropy_parity() -> None:
    """Without weights: torch's mean over labelled pixels, and over all if none is ignored."""
    logits, label, weight = sample()
    torch.testing.assert_close(
        weighted_cross_entropy(logits, label, average="valid"),
        F.cross_entropy(logits, label, ignore_index=255),
    )
    logits, label, weight = sample(ignored=False)
    torch.testing.assert_close(
        weighted_cross_entropy(logits, label), F.cross_entropy(logits, label)
    )
    ones = weighted_cross_entropy(logits, label, torch.ones_like(weight))
    torch.testing.assert_close(ones, F.cross_entropy(logits, label))


@pytest.mark.filterwarnings("ignore:Default ``avg_non_ignore``")
def test_weighted_cross_entropy_mmseg_parity() -> None:
    """With weights and `average="all"`: mmseg's loss without an averaging factor."""
    from uda._quiet import quiet_mmseg_import

    quiet_mmseg_import()
    from mmseg.models.losses import CrossEntropyLoss

    logits, label, weight = sample()
    wanted = CrossEntropyLoss()(logits, label, weight=weight, ignore_index=255)
    torch.testing.assert_close(weighted_cross_entropy(logits, label, weight), wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deterministic_cross_entropy_parity(dtype: torch.dtype) -> None:
    """Where torch is to be deterministic: value and gradient of torch's own loss, to the bit."""
    logits, label, weight = sample()
    label[1, 1, 1] = 3

    def loss_and_gradient() -> tuple[Tensor, Tensor]:
        leaf = logits.to(dtype).requires_grad_()
        loss = weighted_cross_entropy(leaf, label, weight.to(dtype))
        loss.backward()
        assert leaf.grad is not None
        return loss.detach(), leaf.grad

    wanted = loss_and_gradient()
    torch.use_deterministic_algorithms(True)
    try:
        found = loss_and_gradient()
        nothing = weighted_cross_entropy(logits, torch.full_like(label, 255), average="valid")
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(found[0], wanted[0])
    assert torch.equal(found[1], wanted[1])
    assert nothing.item() == 0


@pytest.mark.parametrize("average", ["all", "valid"])
def test_weighted_cross_entropy_grad(average: str) -> None:
    """The gradient is that of finite differences, ignored pixels and weights included."""
    logits, label, weight = sample()
    logits.requires_grad_()

    def loss(x: Tensor) -> Tensor:
        return weighted_cross_entropy(x, label, weight, average=average)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(loss, (logits,))
    loss(logits).backward()
    assert logits.grad is not None
    assert logits.grad[0, :, 0].abs().max() == 0  # the ignored row
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize("average", ["all", "valid"])
def test_weighted_cross_entropy_of_nothing_values(average: str) -> None:
    """A batch without a labelled pixel gives 0 with zero gradient, not NaN."""
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    label = torch.full((1, 2, 2), 255)
    loss = weighted_cross_entropy(logits, label, average=average)  # type: ignore[arg-type]
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_weighted_cross_entropy_errors() -> None:
    """Wrong shapes are named with the right one; so is an unknown average."""
    logits, label = torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"label has shape \(2, 5, 4\).* need \(2, 4, 5\)"):
        weighted_cross_entropy(logits, label.mT)
    with pytest.raises(ValueError, match=r"weight has shape \(2, 1, 5\).* need \(2, 4, 5\)"):
        weighted_cross_entropy(logits, label, torch.zeros(2, 1, 5))
    with pytest.raises(ValueError, match="average has to be .* not 'mean'"):
        weighted_cross_entropy(logits, label, average="mean")  # type: ignore[arg-type]


def test_pixel_accuracy_values() -> None:
    """Four pixels: two right, one wrong, one ignored and therefore wrong: 50 %."""
    logits = torch.tensor([[2.0, 0.0, 2.0, 2.0], [0.0, 2.0, 0.0, 0.0]]).view(1, 2, 2, 2)
    label = torch.tensor([[[0, 1], [1, 255]]])
    accuracy = pixel_accuracy(logits.requires_grad_(), label)
    assert accuracy.item() == 50
    assert not accuracy.requires_grad
