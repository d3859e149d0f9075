"""Methods that look ahead: nothing changes without steps, clean draws, restarts, refusals."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.methods import Method, SelfTraining
from uda.methods.base import PlainOptimiser
from uda.selftraining import ClassBalancedThreshold, EMATeacher, LookAhead, NoView
from uda.structures import Batch

from .tiny import CLASSES, make_batch, make_self_training, make_source_only, make_student, sgd


def build(look_ahead: LookAhead | None = None, seed: int = 0, **changes: Any) -> SelfTraining:
    """DAFormer's parts around the tiny network, looking ahead."""
    method = make_self_training(make_student(seed), **changes)
    if look_ahead is not None:
        method.use_look_ahead(look_ahead)
    return method


def adam(method: Method) -> torch.optim.AdamW:
    """AdamW over the student."""
    return torch.optim.AdamW(method.student.parameters(), lr=1e-2)


def run(method: Method, optimiser: torch.optim.Optimizer, steps: range) -> list[dict[str, Tensor]]:
    """Seeded iterations; further batches come from other draws."""
    logs = []
    for seed in steps:
        torch.manual_seed(seed)
        further = [make_batch(100 + 7 * seed + j) for j in range(method.further_batches)]
        logs.append(method.training_step(make_batch(seed), PlainOptimiser(optimiser), further))
    return logs


def state_of(method: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.state_dict().items()}


def assert_equal(one: nn.Module, two: nn.Module) -> None:
    """All weights and buffers are equal to the bit."""
    others = two.state_dict()
    assert one.state_dict().keys() == others.keys()
    for name, value in one.state_dict().items():
        assert torch.equal(value, others[name]), name


@pytest.mark.parametrize("mode", ["deep", "wide"])
@pytest.mark.parametrize("preset", ["clean", "reference"])
def test_no_steps_parity(mode: Any, preset: Any) -> None:
    """With steps=0 the method is itself to the bit: weights, buffers and logs."""
    plain, ahead = build(), build(LookAhead(mode=mode, preset=preset, steps=0))
    logs = [run(method, adam(method), range(4)) for method in (plain, ahead)]
    assert logs[0] == logs[1]
    assert_equal(plain, ahead)


@pytest.mark.parametrize("mode", ["deep", "wide"])
@pytest.mark.parametrize("preset", ["clean", "reference"])
def test_look_ahead_resume(mode: Any, preset: Any) -> None:
    """Saved after two of five iterations and loaded into a fresh method: equal to the bit."""
    selector = {"num_classes": CLASSES, "momentum": 0.5, "ramp": 4}

    def make(seed: int) -> SelfTraining:
        look_ahead = LookAhead(mode=mode, preset=preset, steps=2)
        return build(look_ahead, seed, selector=ClassBalancedThreshold(**selector))

    straight = make(0)
    run(straight, adam(straight), range(5))
    first, second = make(0), make(9)
    optimiser, resumed = adam(first), adam(second)
    run(first, optimiser, range(2))
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    run(second, resumed, range(2, 5))
    assert_equal(straight, second)


@pytest.mark.parametrize("mode", ["deep", "wide"])
def test_clean_leaves_only_the_teacher_properties(mode: Any) -> None:
    """With a teacher that does not move (decay 1), clean virtual steps leave no trace at all.

    Student, its optimiser, running statistics, a selector's thresholds and the random draws are
    then those of the method without look-ahead, to the bit.
    """

    def make() -> SelfTraining:
        method = build(
            selector=ClassBalancedThreshold(num_classes=CLASSES, momentum=0.5),
            view=NoView(),
        )
        method.teacher = EMATeacher(method.student, decay=1.0, warmup=False)
        method.teacher.count()  # no first iteration, whose update would copy
        return method

    plain, ahead = make(), make()
    ahead.use_look_ahead(LookAhead(mode=mode, steps=2))
    logs = [run(method, adam(method), range(3)) for method in (plain, ahead)]
    assert_equal(plain, ahead)
    for one, two in zip(*logs, strict=True):
        del two["virtual/loss"]
        assert one == two


def test_buffers_average_survives_values() -> None:
    """A teacher that averages running statistics keeps that, though virtual buffers are undone."""
    method = build(LookAhead(steps=1), terms=[])
    method.teacher = EMATeacher(method.student, decay=0.5, mode="eval", buffers="ema")
    optimiser = adam(method)
    run(method, optimiser, range(1))
    before = method.teacher.network.body.norm.running_mean.clone()  # type: ignore[union-attr, operator]
    run(method, optimiser, range(1, 2))
    after = method.teacher.network.body.norm.running_mean  # type: ignore[union-attr]
    assert not torch.equal(before, after)  # type: ignore[arg-type]
    # Source, mixed and target pass in each of two real steps; those of the virtual one are undone.
    assert method.student.body.norm.num_batches_tracked == 4  # type: ignore[union-attr]


def test_overflow_values() -> None:
    """A virtual step that the loss scaler skips leaves the student where it was."""

    class Skipping(PlainOptimiser):
        """Skips the second step, the first virtual one, as a scaler does after an overflow."""

        steps = 0

        def step(self) -> None:
            self.steps += 1
            if self.steps != 2:
                super().step()

    method = build(LookAhead(steps=1), terms=[])
    optimiser = Skipping(sgd(method))
    torch.manual_seed(0)
    method.training_step(make_batch(), optimiser)
    student = state_of(method.student)
    teacher = state_of(method.teacher.network)
    method.training_step(make_batch(1), optimiser)
    # The virtual student is the real one, which the teacher had copied already.
    for name, value in method.teacher.network.named_parameters():
        torch.testing.assert_close(value, teacher[name])
    assert not torch.equal(method.student.head.weight, student["head.weight"])  # type: ignore[union-attr, arg-type]


def test_further_batches_are_taken_when_needed_values() -> None:
    """Each further batch is asked for only before its own virtual step, none in the first."""
    method = build(LookAhead(mode="wide", steps=2), terms=[])
    asked: list[int] = []

    def further() -> Any:
        for j in range(2):
            asked.append(int(method.teacher.network.body.norm.num_batches_tracked))  # type: ignore[union-attr, arg-type]
            yield make_batch(10 + j)

    optimiser = PlainOptimiser(sgd(method))
    method.training_step(make_batch(), optimiser, further())
    assert asked == []
    method.use_look_ahead(LookAhead(mode="wide", steps=2, preset="reference"))
    method.training_step(make_batch(1), optimiser, further())
    assert asked == [1, 2]  # passes of the teacher before each


def test_use_look_ahead_errors() -> None:
    """A method without teacher has nothing that could look ahead."""
    with pytest.raises(ValueError, match="SourceOnly has no EMATeacher of its own"):
        make_source_only(make_student()).use_look_ahead(LookAhead())


def test_training_step_reads_nothing_properties() -> None:
    """Looking ahead reads no value from the device: it runs on one that has none."""
    for mode in ("deep", "wide"):
        method = build(LookAhead(mode=mode, steps=2)).to("meta")  # type: ignore[arg-type]
        batch = make_batch(size=32)
        assert batch.target is not None
        batch = Batch(copy.deepcopy(batch.source), copy.deepcopy(batch.target))
        batch.source.image, batch.source.label = (
            batch.source.image.to("meta"),
            batch.source.label.to("meta"),
        )
        assert batch.target is not None
        batch.target.image = batch.target.image.to("meta")
        optimiser = PlainOptimiser(sgd(method))
        for _ in range(3):
            log = method.training_step(batch, optimiser, [batch] * method.further_batches)
        assert all(value.is_meta for value in log.values())
