"""No iteration of any method reads a value from the device, so none has to wait for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from uda.engine.live.step_watch import StepWatch
from uda.methods import Method
from uda.selftraining import (
    AdversarialOutput,
    ClassContrast,
    InstanceAdaptive,
    MemoryMix,
    NoView,
    PatchContrast,
    PixelContrast,
    RegionConsistency,
    RegionRegularisation,
)
from uda.structures import Batch
from uda.watching import watched_by

from .tiny import (
    CLASSES,
    make_adversarial,
    make_batch,
    make_hard_aware,
    make_self_training,
    make_student,
    optimisers,
)


def make_combined(student: nn.Module) -> Method:
    """Self-training with the selector and the terms of IAST and HIAST, and a discriminator."""
    return make_self_training(
        student,
        selector=InstanceAdaptive(num_classes=CLASSES, initial=0.3),
        view=NoView(),
        terms=[
            RegionRegularisation(),
            RegionConsistency(),
            AdversarialOutput(num_classes=CLASSES, channels=2, entropy_weight=0.1),
        ],
    )


def make_contrastive(student: nn.Module) -> Method:
    """The terms of SePiCo and PiPa, and pasting from a memory."""
    return make_self_training(
        student,
        mixer=MemoryMix(num_classes=CLASSES, size=(8, 8)),
        view=NoView(),
        terms=[
            ClassContrast(num_classes=CLASSES, channels=(8,), kind="bank", memory=3, start=0),
            PixelContrast(num_classes=CLASSES, channels=(6, 8), levels=(0, 1)),
            PatchContrast(channels=(6, 8), levels=(0, 1), stride=4, start=0, samples=9),
        ],
    )


def on_meta() -> Batch:
    """A batch whose tensors have shapes but no values."""
    batch = make_batch(size=32)
    assert batch.target is not None
    batch.source.image, batch.source.label = (
        batch.source.image.to("meta"),
        batch.source.label.to("meta"),
    )
    batch.target.image = batch.target.image.to("meta")
    batch.target.valid = torch.ones_like(batch.source.label, dtype=torch.bool)
    return batch


@pytest.mark.parametrize(
    "make", [make_adversarial, make_combined, make_hard_aware, make_contrastive]
)
def test_training_step_reads_nothing_properties(make: Callable[[nn.Module], Method]) -> None:
    """Reading a value of a tensor on torch's meta device raises."""
    method = make(make_student()).to("meta")
    for _ in range(2):
        log = method.training_step(on_meta(), optimisers(method))
    assert all(value.is_meta for value in log.values())


@pytest.mark.parametrize(
    "make", [make_adversarial, make_combined, make_hard_aware, make_contrastive]
)
def test_watched_step_reads_nothing_properties(make: Callable[[nn.Module], Method]) -> None:
    """Neither does whoever watches the step, until its sums are asked for."""
    method = make(make_student()).to("meta")
    watch = StepWatch.on(torch.device("meta"), num_classes=CLASSES, stride=2)
    with watched_by(watch):
        for _ in range(2):
            method.training_step(on_meta(), optimisers(method))
    with pytest.raises((RuntimeError, NotImplementedError)):
        watch.sums.pop([f"class {number}" for number in range(CLASSES)])


def test_teacher_sees_the_weak_view_values() -> None:
    """In self-training the teacher of `RegionConsistency` sees mixed images before the view."""

    class Invert(NoView):
        def forward(self, image: Tensor) -> Tensor:
            return -image

    student = make_student()
    method = make_self_training(student, view=Invert(), terms=[RegionConsistency()])
    seen: list[Tensor] = []
    method.teacher.network.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    shown: list[Tensor] = []
    student.register_forward_hook(lambda _, given, __: shown.append(given[0]))
    log = method.training_step(make_batch(), optimisers(method))
    # the teacher's second image, and the student's second pass
    assert torch.equal(seen[1], -shown[1])
    assert "mixed/consistency" in log
