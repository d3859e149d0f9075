"""No method reads anything of the device between two lines of the log."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.engine.replicas import drawn_terms
from tests.host_reads import HostReads, device_tensors
from uda.engine.log import DeviceScalars
from uda.engine.number_watch import NumberWatch
from uda.methods import DualTeacherStudent, Method
from uda.methods.base import PlainOptimiser
from uda.registry import METHODS
from uda.selftraining import EMATeacher, LookAhead, MemoryMix, TargetMix
from uda.structures import Batch

from .test_no_waiting import make_combined, make_contrastive
from .tiny import (
    CLASSES,
    make_adversarial,
    make_batch,
    make_hard_aware,
    make_masked,
    make_self_training,
    make_source_only,
    make_student,
)


def make_dual() -> Method:
    """Two groups, of which the second one looks ahead."""
    groups = [
        make_self_training(make_student(k), terms=drawn_terms() if k else []) for k in range(2)
    ]
    groups[1].use_look_ahead(LookAhead(steps=2))
    method = DualTeacherStudent(
        primary=groups[0], secondary=groups[1], target_mix=TargetMix(num_classes=CLASSES)
    )
    method.initialise()
    return method


def make_wide() -> Method:
    """Self-training whose teacher looks ahead over further batches."""
    method = make_self_training(make_student())
    method.use_look_ahead(LookAhead(mode="wide", steps=2))
    return method


def make_remembering() -> Method:
    """An averaged teacher, and pasting from a memory."""
    student = make_student()
    return make_self_training(
        student,
        teacher=EMATeacher(student, decay=0.9, mode="eval", buffers="ema"),
        mixer=MemoryMix(num_classes=CLASSES, size=(8, 8)),
    )


MAKERS: dict[str, Callable[[], Method]] = {
    "adversarial": lambda: make_adversarial(make_student()),
    "combined": lambda: make_combined(make_student()),
    "contrastive": lambda: make_contrastive(make_student()),
    "dual": make_dual,
    "hard_aware": lambda: make_hard_aware(make_student()),
    "masked": lambda: make_masked(make_student()),
    "remembering": make_remembering,
    "self_training": lambda: make_self_training(make_student()),
    "source_only": lambda: make_source_only(make_student()),
    "wide": make_wide,
}


def batches_of(method: Method, iteration: int) -> tuple[Batch, list[Batch]]:
    """The batch of an iteration, large enough for a discriminator, and further ones."""
    further = [make_batch(100 * k + iteration, 32) for k in range(1, 1 + method.further_batches)]
    return make_batch(iteration, 32), further


@pytest.mark.parametrize("name", MAKERS)
def test_step_reads_nothing_properties(name: str) -> None:
    """Neither the step, nor the watch over its numbers, nor the sums of the log.

    The watch reads once where a step logs other names than the one before, as the first ones do.
    """
    method = MAKERS[name]()
    trained = method.trained()
    opponents = {
        key: PlainOptimiser(torch.optim.Adam(network.parameters()))
        for key, network in method.opponents().items()
    }
    optimiser = PlainOptimiser(torch.optim.AdamW(trained.parameters()), opponents=opponents)
    scalars, watch = DeviceScalars(), NumberWatch()

    def step(iteration: int) -> dict[str, Tensor]:
        batch, further = everything[iteration]
        watch.begin()
        log = method.training_step(batch, optimiser, further)
        watch.allows(trained.parameters())
        watch.record(log, iteration)
        scalars.add(log)
        return log

    everything = [batches_of(method, iteration) for iteration in range(4)]
    flat = [one for batch, further in everything for one in (batch, *further)]
    for iteration in range(2):
        step(iteration)
    with HostReads(device_tensors(method, flat)) as reads:
        for iteration in range(2, 4):
            log = step(iteration)
    assert not reads.found
    with HostReads(log.values()) as reads:
        scalars.pop()
        log["loss"].item()
    assert reads.found  # the count can fail


def test_every_method_is_counted() -> None:
    """A new method joins the table."""
    counted = {type(make()).__name__ for make in MAKERS.values()}
    assert counted == set(METHODS.module_dict)


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: bool(x.sum() > 0), "_local_scalar_dense"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: x.cpu(), "cpu"),
        (lambda x: x.detach().numpy(), "numpy"),
        (lambda x: x[x > 0], "index"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: (x * 2).masked_select(x > 0), "masked_select"),
        (lambda x: torch.zeros(2).copy_(x).tolist(), "tolist"),
    ],
)
def test_host_reads_values(read: Callable[[torch.Tensor], object], what: str) -> None:
    """Each way to read is seen, also of what was computed from or copied; the host's own is not."""
    device, host = torch.ones(2), torch.ones(2)
    with HostReads([device]) as reads:
        read(host)
        assert not reads.found
        read(device)
    assert len(reads.found) == 1
    assert reads.found[0].startswith(f"{what} at")
