"""Self-training on pseudo-labelled target images: losses, teacher after the step, empty regions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from uda.losses import region_consistency, region_entropy, uniform_divergence
from uda.methods import HardAwareSelfTraining
from uda.methods.base import PlainOptimiser
from uda.selftraining import EMATeacher, LookAhead, RegionConsistency, RegionRegularisation
from uda.structures import Batch

from .tiny import make_batch, make_hard_aware, make_student, sgd


def views(**changes: Any) -> Batch:
    """Two images in a strong view with a partly ignored label, and in a weak one."""
    batch = make_batch()
    batch.source.label[:, :6] = 255
    for name, value in changes.items():
        setattr(batch.source, name, value)
    return batch


def test_losses_values() -> None:
    """Each loss written out; the teacher sees the weak view, in evaluation mode."""
    method = make_hard_aware(make_student(dropout=0.0))
    method.student.eval()  # the same prediction twice
    batch = views()
    assert batch.target is not None
    strong, label = batch.source.image, batch.source.label
    logits = method.student_pass(strong).logits
    probs = method.student_pass(batch.target.image).logits.softmax(1)
    log = method.training_step(batch, PlainOptimiser(sgd(method)))
    ce = torch.nn.functional.cross_entropy(logits, label, ignore_index=255)
    regions = 0.1 * uniform_divergence(logits, label != 255)
    regions = regions + region_entropy(logits, label == 255)
    consistency = 0.5 * region_consistency(logits, probs, label == 255)
    for name, wanted in (("ce", ce), ("regions", regions), ("consistency", consistency)):
        torch.testing.assert_close(log[f"target/{name}"], wanted.detach())
    torch.testing.assert_close(log["loss"], (ce + regions + consistency).detach())
    assert log["target/kept_share"].item() == pytest.approx(100 * (label != 255).float().mean())


def test_teacher_follows_after_the_step_values() -> None:
    """phi_1 = 0.9 phi_0 + 0.1 theta_1: full decay at once, towards the student after its step.

    Buffers are copies of the student's.
    """
    method = make_hard_aware(make_student())
    start = [p.clone() for p in method.student.parameters()]
    method.training_step(views(), PlainOptimiser(sgd(method)))
    pairs = zip(
        start, method.student.parameters(), method.teacher.network.parameters(), strict=True
    )
    for old, new, teacher in pairs:
        torch.testing.assert_close(teacher, 0.9 * old + 0.1 * new)
    moved = zip(start, method.student.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in moved)
    student = dict(method.student.named_buffers())
    assert student
    for name, buffer in method.teacher.network.named_buffers():
        assert torch.equal(buffer, student[name])


@pytest.mark.parametrize("steps", [0, 2])
def test_look_ahead_values(steps: int) -> None:
    """Without virtual steps the method is itself to the bit; with them the teacher differs."""
    plain, ahead = (make_hard_aware(make_student(dropout=0.0)) for _ in range(2))
    ahead.use_look_ahead(LookAhead(steps=steps))
    for _ in range(3):
        logs = [m.training_step(views(), PlainOptimiser(sgd(m))) for m in (plain, ahead)]
    same = [torch.equal(a, b) for a, b in zip(plain.parameters(), ahead.parameters(), strict=True)]
    assert all(same) is (steps == 0)
    assert ("virtual/loss" in logs[1]) is (steps > 0)
    moved = zip(ahead.teacher.network.parameters(), ahead.student.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in moved)


@pytest.mark.parametrize("value", [1, 255], ids=["all_kept", "all_ignored"])
def test_one_region_empty_grad(value: int) -> None:
    """A crop that is kept or ignored as a whole: everything stays finite."""
    method = make_hard_aware(make_student())
    label = torch.full_like(views().source.label, value)
    log = method.training_step(views(label=label), PlainOptimiser(sgd(method)))
    assert all(entry.isfinite() for entry in log.values())
    assert all(p.isfinite().all() for p in method.parameters())
    if value == 255:
        assert log["target/ce"] == 0


def test_padding_is_in_no_region_values() -> None:
    """Padded pixels carry label 255, but are not pushed to certainty."""
    method = make_hard_aware(make_student(dropout=0.0), terms=[RegionRegularisation()])
    method.student.eval()
    batch = views()
    assert batch.target is not None
    batch.target.valid = batch.source.label != 255
    logits = method.student_pass(batch.source.image).logits
    log = method.training_step(batch, PlainOptimiser(sgd(method)))
    wanted = 0.1 * uniform_divergence(logits, batch.source.label != 255)
    torch.testing.assert_close(log["target/regions"], wanted.detach())


def test_networks_values() -> None:
    """Student and teacher can be evaluated; the teacher starts as a copy."""
    method = make_hard_aware(make_student())
    assert list(method.networks()) == ["student", "teacher"]
    student = method.student.state_dict()
    for name, value in method.teacher.network.state_dict().items():
        assert torch.equal(value, student[name])


def test_consistency_alone_asks_the_teacher_values() -> None:
    """Without a term that needs it the teacher is not run."""
    student = make_student()
    for terms, calls in (([RegionRegularisation()], 0), ([RegionConsistency()], 1)):
        teacher = EMATeacher(student, decay=0.9, warmup=False, buffers="copy", mode="eval")
        method = HardAwareSelfTraining(student=student, teacher=teacher, terms=terms)
        seen: list[int] = []
        teacher.network.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        method.training_step(views(), PlainOptimiser(sgd(method)))
        assert len(seen) == calls


def test_method_errors() -> None:
    """A batch without the weak view."""
    method = make_hard_aware(make_student())
    with pytest.raises(ValueError, match="needs a weak and a strong view of each target image"):
        method.training_step(Batch(views().source), PlainOptimiser(sgd(method)))
