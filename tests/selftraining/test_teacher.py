"""The teacher: its schedule, its buffers, its modes, and going on after a restart."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from uda.selftraining import EMATeacher
from uda.selftraining.teacher import Buffers


def make_student(seed: int = 0) -> nn.Sequential:
    """Convolution, BatchNorm, Dropout, with running statistics that are not the defaults."""
    torch.manual_seed(seed)
    student = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU())
    student(torch.randn(2, 3, 4, 4))
    return student


def scalar(value: float) -> nn.Linear:
    """A student with one weight."""
    student = nn.Linear(1, 1, bias=False)
    nn.init.constant_(student.weight, value)
    return student


def weights_after(teacher: EMATeacher, values: list[float]) -> list[float]:
    """The teacher's one weight after each update with a student of the given weights."""
    found = []
    for value in values:
        teacher.update(scalar(value))
        found.append(teacher.network.weight.item())  # type: ignore[union-attr, operator]
    return found


def test_decay_schedule_values() -> None:
    """0 at the first update, then 1/2, 2/3, ..., 0.999 from update 999 on."""
    teacher = EMATeacher(scalar(0), decay=0.999)
    steps = (0, 1, 2, 9, 998, 999, 40_000)
    wanted = [0, 1 / 2, 2 / 3, 0.9, 1 - 1 / 999, 0.999, 0.999]
    assert [teacher.decay_at(t) for t in steps] == pytest.approx(wanted)
    constant = EMATeacher(scalar(0), decay=0.9, warmup=False)
    assert [constant.decay_at(t) for t in (0, 1, 2)] == [0, 0.9, 0.9]


def test_update_values() -> None:
    """Students 1, 3, 5: copy 1; (1 + 3)/2 = 2; 2/3 * 2 + 5/3 = 3, or 0.6 * 2 + 0.4 * 5 = 3.2."""
    assert weights_after(EMATeacher(scalar(9)), [1, 3, 5]) == pytest.approx([1, 2, 3])
    capped = EMATeacher(scalar(9), decay=0.6)
    assert weights_after(capped, [1, 3, 5]) == pytest.approx([1, 2, 3.2])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=6))
def test_update_properties(values: list[float]) -> None:
    """Decay 0 is the student; decay 1 without warm-up stays at the first; else between extremes."""
    assert weights_after(EMATeacher(scalar(0), decay=0), values) == values
    fixed = EMATeacher(scalar(0), decay=1, warmup=False)
    assert weights_after(fixed, values) == [values[0]] * len(values)
    for n, weight in enumerate(weights_after(EMATeacher(scalar(0)), values), start=1):
        assert min(values[:n]) - 1e-3 <= weight <= max(values[:n]) + 1e-3


@pytest.mark.parametrize("buffers", ["own", "copy", "ema"])
def test_buffers_values(buffers: Buffers) -> None:
    """Running means 1, then 3: the teacher keeps its own 7, copies 3, or averages 2.

    The integer counter of batches is copied where buffers are not its own.
    """
    student = make_student()
    norm = student[1]
    teacher = EMATeacher(student, buffers=buffers)
    own = teacher.network[1]  # type: ignore[index]
    own.running_mean.fill_(7)
    own.num_batches_tracked.fill_(70)
    means = []
    for value, count in ((1.0, 10), (3.0, 30)):
        norm.running_mean.fill_(value)  # type: ignore[union-attr, operator]
        norm.num_batches_tracked.fill_(count)  # type: ignore[union-attr, operator]
        teacher.update(student)
        means.append(own.running_mean.unique().tolist())
    assert means == {"own": [[7], [7]], "copy": [[1], [3]], "ema": [[1], [2]]}[buffers]
    assert own.num_batches_tracked.item() == (70 if buffers == "own" else 30)


def test_train_mode_values() -> None:
    """mode="train": batch statistics, no Dropout; the running mean moves with target batches."""
    student = make_student()
    teacher = EMATeacher(student, mode="train").train()
    modes = [module.training for module in teacher.network]  # type: ignore[union-attr]
    assert modes == [False, True, False, False]
    image = torch.randn(2, 3, 4, 4)
    before = teacher.network[1].running_mean.clone()  # type: ignore[index]
    probs = teacher.predict(image)
    reference = copy.deepcopy(student).train()
    reference[2].eval()
    torch.testing.assert_close(probs, reference(image).softmax(1))
    assert torch.equal(probs, teacher.predict(image))
    assert not torch.equal(teacher.network[1].running_mean, before)  # type: ignore[index]


def test_eval_mode_values() -> None:
    """mode="eval", or evaluation of any teacher: running statistics, which stay."""
    student = make_student()
    image = torch.randn(2, 3, 4, 4)
    wanted = copy.deepcopy(student).eval()(image).softmax(1)
    for teacher in (EMATeacher(student, mode="eval").train(), EMATeacher(student).eval()):
        assert not any(module.training for module in teacher.network.modules())
        before = teacher.network[1].running_mean.clone()  # type: ignore[index]
        torch.testing.assert_close(teacher.predict(image), wanted)
        assert torch.equal(teacher.network[1].running_mean, before)  # type: ignore[index]


def test_train_of_the_parent_values() -> None:
    """The mode survives `train()` and `eval()` of the module the teacher is part of."""
    parent = nn.ModuleDict({"teacher": EMATeacher(make_student())})
    network = parent["teacher"].network
    parent.eval()
    assert [m.training for m in network] == [False] * 4  # type: ignore[union-attr]
    parent.train()
    assert [m.training for m in network] == [False, True, False, False]  # type: ignore[union-attr]


def test_teacher_grad() -> None:
    """No parameter of the teacher is trainable, none of its results has a graph, no update has."""
    student = make_student()
    teacher = EMATeacher(student)
    teacher.update(student)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    assert not teacher.predict(torch.randn(1, 3, 4, 4, requires_grad=True)).requires_grad


def test_predict_shapes() -> None:
    """Probabilities of the image's size that add up to 1."""
    probs = EMATeacher(nn.Conv2d(3, 5, 1)).predict(torch.randn(2, 3, 6, 7))
    assert probs.shape == (2, 5, 6, 7)
    torch.testing.assert_close(probs.sum(1), torch.ones(2, 6, 7))


def test_copy_from_values() -> None:
    """Parameters and buffers of the student, and the count of updates untouched."""
    teacher, student = EMATeacher(make_student(0)), make_student(1)
    teacher.copy_from(student)
    for name, value in student.state_dict().items():
        assert torch.equal(teacher.network.state_dict()[name], value)
    assert teacher.iteration.item() == 0


def test_teacher_resume() -> None:
    """Saved after two updates, ramp and weights go on to the bit; the copy is not repeated."""
    students = [make_student(seed) for seed in range(4)]
    straight, first = (EMATeacher(students[0], buffers="ema") for _ in range(2))
    for student in students[:2]:
        straight.update(student)
        first.update(student)
    second = EMATeacher(make_student(9), buffers="ema")
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for student in students[2:]:
        straight.update(student)
        second.update(student)
    for name, value in straight.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name
    assert second.iteration.item() == 4


def test_teacher_errors() -> None:
    """Arguments out of range are named; so is a network that returns something strange."""
    with pytest.raises(ValueError, match=r"decay has to lie in \[0, 1\].* not 99.9"):
        EMATeacher(scalar(0), decay=99.9)
    with pytest.raises(ValueError, match="buffers has to be .* not 'mean'"):
        EMATeacher(scalar(0), buffers="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='mode has to be "train" or "eval", not \'test\''):
        EMATeacher(scalar(0), mode="test")  # type: ignore[arg-type]

    class Strange(nn.Module):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [image]

    with pytest.raises(TypeError, match="returned list. Wrap it"):
        EMATeacher(Strange()).predict(torch.zeros(1, 3, 2, 2))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000))
def test_flip_average_properties(seed: int) -> None:
    """Averaged over both ways round, a mirrored image has the mirrored probabilities."""
    torch.manual_seed(seed)
    student = nn.Conv2d(3, 4, 3, padding=1)
    image = torch.randn(2, 3, 5, 6)
    teacher = EMATeacher(student, flip_average=True)
    probs = teacher.predict(image)
    torch.testing.assert_close(teacher.predict(image.flip(-1)), probs.flip(-1))
    torch.testing.assert_close(probs.sum(1), torch.ones(2, 5, 6))
    plain = EMATeacher(student)
    wanted = (plain.predict(image) + plain.predict(image.flip(-1)).flip(-1)) / 2
    torch.testing.assert_close(probs, wanted)


def test_share_frozen_values() -> None:
    """Frozen parameters are the student's own; the others follow; the state dict has both."""
    student = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    student[0].requires_grad_(False)
    teacher = EMATeacher(student, decay=0.5, warmup=False, share_frozen=True)
    assert teacher.network[0].weight is student[0].weight  # type: ignore[index]
    assert teacher.network[1].weight is not student[1].weight  # type: ignore[index]
    apart = EMATeacher(student, decay=0.5, warmup=False)
    assert apart.network[0].weight is not student[0].weight  # type: ignore[index]
    for value in (1.0, 3.0):
        nn.init.constant_(student[1].weight, value)
        teacher.update(student)
        apart.update(student)
    assert teacher.network[1].weight.flatten().tolist() == [2.0, 2.0]  # type: ignore[index]
    assert teacher.state_dict().keys() == apart.state_dict().keys()
    for name, value in apart.state_dict().items():
        assert torch.equal(teacher.state_dict()[name], value), name
    assert all(not p.requires_grad for p in teacher.network.parameters())
    assert student[1].weight.requires_grad
