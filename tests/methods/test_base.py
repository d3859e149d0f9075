"""The step all methods share: passes, gradients, logs, precision contexts."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from uda.methods import Method
from uda.methods.base import PlainOptimiser, accumulate
from uda.selftraining.terms import Pass
from uda.structures import Batch, Box, NetworkOutput, Region

from .tiny import make_batch, make_self_training, make_source_only, make_student, sgd


class Two(Method):
    """Two passes over one weight w: the losses w and w^2, and 3 w."""

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """First and second pass."""
        weight = self.student.weight  # type: ignore[union-attr]
        first = 1 * weight.sum()  # type: ignore[union-attr, operator]
        yield Pass("first", {"line": first, "square": first**2}, {"seen": first.detach() + 1})
        yield Pass("second", {"line": 3 * weight.sum()})  # type: ignore[union-attr, operator]


def two(backward: str = "each") -> Two:
    """The method with w = 2."""
    student = nn.Linear(1, 1, bias=False)
    nn.init.constant_(student.weight, 2.0)
    return Two(student=student, backward=backward)  # type: ignore[arg-type]


@pytest.mark.parametrize("backward", ["each", "joint"])
def test_training_step_values(backward: str) -> None:
    """At w = 2: losses 2, 4 and 6, sum 12; gradient 1 + 2w + 3 = 8; w - 0.1 * 8 = 1.2.

    A gradient left from before is forgotten.
    """
    method = two(backward)
    weight = method.student.weight
    weight.grad = torch.full_like(weight, 1000.0)  # type: ignore[arg-type]
    log = method.training_step(make_batch(), PlainOptimiser(sgd(method, lr=0.1)))
    assert {name: value.item() for name, value in log.items()} == {
        "first/line": 2,
        "first/square": 4,
        "first/seen": 3,
        "second/line": 6,
        "loss": 12,
    }
    assert not any(value.requires_grad for value in log.values())
    assert weight.item() == pytest.approx(1.2)  # type: ignore[operator]


@pytest.mark.parametrize("make", [make_self_training, make_source_only])
def test_backward_parity(make: object) -> None:
    """One backward pass a forward pass adds up to the gradient of the sum, in float64."""
    gradients = []
    for backward in ("each", "joint"):
        method = make(make_student().double())  # type: ignore[operator]
        method.backward = backward
        torch.manual_seed(1)
        batch = make_batch(dtype=torch.float64)
        method.training_step(batch, PlainOptimiser(sgd(method, lr=0.0)))
        gradients.append([p.grad for p in method.student.parameters()])
    for each, joint in zip(*gradients, strict=True):
        # losses are taken in float32
        torch.testing.assert_close(each, joint, rtol=1e-5, atol=1e-8)
    assert all(g.abs().max() > 0 for g in gradients[0][-2:])


def test_autocast_values() -> None:
    """Every forward pass runs inside the context, no backward pass does."""
    inside: list[bool] = []
    active = False

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        nonlocal active
        active = True
        yield
        active = False

    class Watched(Two):
        def passes(self, batch: Batch) -> Iterator[Pass]:
            for done in super().passes(batch):
                inside.append(active)
                yield done

    method = Watched(student=two().student)
    method.student.weight.register_hook(lambda _: inside.append(active))  # type: ignore[union-attr, operator]
    method.training_step(make_batch(), PlainOptimiser(sgd(method), autocast=context))
    assert inside == [True, False, True, False]


def test_autocast_bfloat16_values() -> None:
    """In bfloat16 autocast the losses and gradients are float32 and near those without it."""
    losses = []
    for autocast in (None, lambda: torch.autocast("cpu", torch.bfloat16)):
        method = make_self_training(make_student(dropout=0.0), view=None)
        torch.manual_seed(0)
        log = method.training_step(make_batch(), PlainOptimiser(sgd(method), autocast=autocast))
        assert log["loss"].dtype == torch.float32
        assert all(p.grad.dtype == torch.float32 for p in method.student.parameters())  # type: ignore[union-attr]
        losses.append(log["loss"].item())
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


def test_auxiliary_values() -> None:
    """An auxiliary head of weight 0.4 adds 0.4 times its cross-entropy to source and mixed."""
    method = make_self_training(make_student(auxiliary=True), terms=[])
    batch = make_batch()
    output = method.student_pass(batch.source.image)
    losses = method.supervised(output, batch.source.label)
    plain = method.supervised(
        output._replace(auxiliary=((output.auxiliary[0][0], 1.0),)), batch.source.label
    )
    torch.testing.assert_close(losses["auxiliary0"], 0.4 * plain["auxiliary0"])
    log = method.training_step(batch, PlainOptimiser(sgd(method)))
    assert {"source/auxiliary0", "mixed/auxiliary0"} <= set(log)
    total = sum(log[f"{p}/{k}"] for p in ("source", "mixed") for k in ("ce", "auxiliary0"))
    torch.testing.assert_close(log["loss"], total)


def test_regions_values() -> None:
    """Logits 0 over two classes cost log 2 a pixel. Of 8 pixels 6 carry a label, weights sum to 3:
    the whole costs 3/8 log 2 times its share 0.7. The box has 2 pixels of weight 1/2, one without
    a label: 1/4 log 2 times 0.3."""
    label = torch.tensor([[[0, 1, 0, 255], [1, 0, 1, 255]]])
    weight = torch.full((1, 2, 4), 0.5)
    box = Box(0, 1, 2, 4)
    region = Region("detail", torch.zeros(1, 2, 1, 2), box, 0.3)
    output = NetworkOutput(torch.zeros(1, 2, 2, 4), regions=(region,), share=0.7)
    losses = Method(student=nn.Identity()).supervised(output, label, weight)
    assert losses["ce"].item() == pytest.approx(0.7 * 3 / 8 * math.log(2))
    assert losses["detail"].item() == pytest.approx(0.3 / 4 * math.log(2))
    over_labelled = Method(student=nn.Identity(), average="valid").supervised(output, label, weight)
    assert over_labelled["detail"].item() == pytest.approx(0.3 / 2 * math.log(2))
    unweighted = Method(student=nn.Identity()).supervised(output, label)
    assert unweighted["detail"].item() == pytest.approx(0.3 / 2 * math.log(2))


def test_method_errors() -> None:
    """An unknown order of backward passes, a method without passes, and one that makes none."""
    with pytest.raises(ValueError, match='backward has to be "each" or "joint", not \'once\''):
        Method(student=nn.Identity(), backward="once")  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError, match="Method has to define `passes`"):
        Method(student=nn.Identity()).passes(make_batch())
    with pytest.raises(RuntimeError, match="made no pass"):
        accumulate(iter(()), PlainOptimiser(sgd(two())), backward="each")
