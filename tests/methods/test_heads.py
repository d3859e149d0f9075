"""Heads of terms: trained with the student, put back with it, averaged by the teacher."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.engine.optim import ParameterGroups
from uda.methods import DualTeacherStudent, HardAwareSelfTraining, Method, SelfTraining, SourceOnly
from uda.methods.base import PlainOptimiser
from uda.selftraining import (
    ClassContrast,
    EMATeacher,
    LookAhead,
    MemoryMix,
    PatchContrast,
    PixelContrast,
    Term,
)
from uda.selftraining.teacher_pair import TeacherPair

from .tiny import CLASSES, make_batch, make_hard_aware, make_self_training, make_student


def class_contrast(**changes: Any) -> ClassContrast:
    settings: dict[str, Any] = {"channels": (8,), "size": 6, "start": 0}
    return ClassContrast(num_classes=CLASSES, **{**settings, **changes})


def pipa() -> list[Term]:
    maps: dict[str, Any] = {"channels": (6, 8), "levels": (0, 1)}
    return [
        PixelContrast(num_classes=CLASSES, min_pixels=3, **maps),
        PatchContrast(samples=10, stride=4, start=0, threshold=0.0, **maps),
    ]


TERMS: dict[str, Any] = {
    "dist": lambda: [class_contrast()],
    "bank": lambda: [class_contrast(kind="bank", memory=5, norm=False)],
    "proto": lambda: [class_contrast(kind="prototype", statistics="student", adapted="mixed")],
    "pipa": pipa,
}


def build(name: str = "dist", seed: int = 0, **changes: Any) -> SelfTraining:
    method = make_self_training(make_student(seed), terms=TERMS[name](), **changes)
    return method


def adam(method: Method) -> torch.optim.AdamW:
    return torch.optim.AdamW(method.trained().parameters(), lr=1e-2)


def run(method: Method, optimiser: torch.optim.Optimizer, steps: range) -> list[dict[str, Tensor]]:
    logs = []
    for seed in steps:
        torch.manual_seed(seed)
        further = [make_batch(100 + 7 * seed + j) for j in range(method.further_batches)]
        logs.append(method.training_step(make_batch(seed), PlainOptimiser(optimiser), further))
    return logs


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize("name", TERMS)
def test_heads_are_trained(name: str) -> None:
    """They are the optimiser's beside the student, move, and are neither networks nor opponents."""
    method = build(name)
    trained = dict(method.trained().named_parameters())
    assert {key.split(".")[0] for key in trained} == {"student", "heads"}
    before = weights(method.trained())
    logs = run(method, adam(method), range(3))
    assert all(bool(value.isfinite()) for log in logs for value in log.values())
    for key, value in before.items():
        # A bias in front of a BatchNorm has no gradient but decay; a bias starts near 0.
        if key.endswith(".weight"):
            assert not torch.equal(trained[key], value), key
    assert set(method.networks()) == {"student", "teacher"}
    held = {id(p) for network in method.networks().values() for p in network.parameters()}
    heads = {id(p) for head in method.heads().values() for p in head.parameters()}
    assert heads
    assert not heads & held
    assert method.opponents() == {}


def test_methods_without_heads_are_as_they_were() -> None:
    """What is trained is the student itself, under the names it had."""
    method = make_self_training(make_student())
    assert method.trained() is method.student
    assert not any("heads" in key for key in method.state_dict())


def test_parameter_groups_of_heads_values() -> None:
    """A config's key "head" finds them, as the released SePiCo's `auxiliary_head` is found."""
    model = nn.Module()
    model.method = build("dist")
    optimizer = {"type": "AdamW", "lr": 1e-4, "weight_decay": 0.01}
    keys = {"custom_keys": {"head": {"lr_mult": 10.0}, "body": {"decay_mult": 0.0}}}
    wrapper = ParameterGroups({"type": "OptimWrapper", "optimizer": optimizer}, keys)(model)
    rates = {
        id(p): group["lr"] for group in wrapper.optimizer.param_groups for p in group["params"]
    }
    (head,) = model.method.heads().values()
    assert {rates[id(p)] for p in head.parameters()} == {1e-4 * 10}
    assert {rates[id(p)] for p in model.method.student.body.parameters()} == {1e-4}


@pytest.mark.parametrize("mode", ["deep", "wide"])
@pytest.mark.parametrize("name", TERMS)
def test_virtual_steps_leave_heads(mode: Any, name: str) -> None:
    """Clean virtual steps leave heads, statistics and memory where they were, to the bit.

    The teacher does not move (decay 1), so that a run looking ahead is a run of its own.
    """
    runs = []
    for steps in (0, 2):
        method = build(name, teacher=EMATeacher(make_student(0), decay=1.0, warmup=False))
        method.teacher.count()  # no first iteration, whose update would copy
        method.use_look_ahead(LookAhead(mode=mode, steps=steps))
        optimiser = adam(method)
        for seed in range(3):
            torch.manual_seed(seed)
            further = [make_batch(50 + j) for j in range(method.further_batches)]
            method.training_step(make_batch(seed), PlainOptimiser(optimiser), further)
        runs.append({k: v for k, v in method.state_dict().items() if k != "teacher.iteration"})
    for key, value in runs[0].items():
        assert torch.equal(value, runs[1][key]), key


def test_virtual_heads_move_the_average() -> None:
    """The teacher's average of a head follows the virtual head, as its network the student."""
    plain, ahead = build("dist"), build("dist")
    ahead.use_look_ahead(LookAhead(steps=2))
    for method in (plain, ahead):
        run(method, adam(method), range(3))
    one, two = (m.teacher.heads["class_contrast"].state_dict() for m in (plain, ahead))
    assert any(not torch.equal(value, two[key]) for key, value in one.items())


@pytest.mark.parametrize("kind", [EMATeacher, TeacherPair])
def test_teacher_averages_heads_values(kind: Any) -> None:
    """The first update copies, the second takes half; buffers go as the teacher's do."""
    student, head = nn.Linear(1, 1), nn.BatchNorm1d(1)
    teacher = kind(student, buffers="copy", warmup=True)
    nn.init.constant_(head.weight, 4.0)
    teacher.add_head("head", head)
    mine = teacher.heads["head"]
    assert mine.training  # batch statistics, as the teacher's mode says
    teacher.update(student)
    nn.init.constant_(head.weight, 2.0)
    head.running_mean.fill_(7.0)  # type: ignore[union-attr]
    teacher.update(student)
    assert mine.weight.item() == 3
    assert mine.running_mean.item() == 7
    teacher.copy_from(student)
    assert mine.weight.item() == 2
    assert not teacher.train(False).heads["head"].training
    names = {key for key in teacher.state_dict() if "running_mean" in key}
    assert names == {"heads.head.running_mean"}


def test_head_errors() -> None:
    """Two heads of one name, in a teacher and in a method."""
    teacher = EMATeacher(nn.Linear(1, 1))
    teacher.add_head("head", nn.Linear(1, 1))
    with pytest.raises(ValueError, match="The teacher already averages a head 'head'"):
        teacher.add_head("head", nn.Linear(1, 1))
    two = [class_contrast(statistics="student") for _ in range(2)]
    with pytest.raises(ValueError, match="Two terms have a head called 'class_contrast'"):
        make_self_training(make_student(), terms=two).trained()


@pytest.mark.parametrize("name", TERMS)
def test_heads_resume(name: str) -> None:
    """Saved after two iterations with the optimiser and loaded: the rest is the same to the bit."""
    straight, resumed = build(name), build(name, seed=5)
    optimiser = adam(straight)
    run(straight, optimiser, range(2))
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    other = adam(resumed)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    logs = [run(m, o, range(2, 4)) for m, o in ((straight, optimiser), (resumed, other))]
    for one, two in zip(*logs, strict=True):
        assert all(torch.equal(value, two[key]) for key, value in one.items())
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@pytest.mark.parametrize("name", TERMS)
def test_groups_have_their_own_heads(name: str) -> None:
    """Two coupled groups train two heads; one of them looks ahead."""
    second = build(name, seed=1)
    second.use_look_ahead(LookAhead(steps=1))
    pair = DualTeacherStudent(primary=build(name), secondary=second)
    pair.initialise()
    before = weights(pair.trained())
    assert sum("primary.heads" in key for key in before) > 0
    logs = run(pair, adam(pair), range(2))
    assert all(bool(value.isfinite()) for log in logs for value in log.values())
    for key, value in pair.trained().named_parameters():
        if "heads" in key and key.endswith(".weight"):
            assert not torch.equal(value, before[key]), key
    # Counted once an iteration, in both groups.
    counts = {int(v) for k, v in pair.state_dict().items() if k.endswith("counter.iteration")}
    assert counts in ({2}, set())


def test_methods_without_target_or_source() -> None:
    """Source-only training has the source's part; a round on the target says what is missing."""
    terms = [class_contrast(statistics="student", adapted="none"), TERMS["pipa"]()[0]]
    method = SourceOnly(student=make_student(), terms=terms)
    method.initialise()
    log = run(method, adam(method), range(2))[-1]
    assert {"source/class_contrast", "source/pixel_contrast"} <= set(log)
    with pytest.raises(ValueError, match="ClassContrast learns from a teacher's predictions, and"):
        SourceOnly(student=make_student(), terms=[class_contrast()])
    method = make_hard_aware(make_student(), terms=[class_contrast()])
    assert isinstance(method, HardAwareSelfTraining)
    with pytest.raises(ValueError, match="needs a source pass before"):
        run(method, adam(method), range(1))


def test_memory_mix_in_a_method() -> None:
    """Objects of the memory reach the mixed image, and the source pass does not see them."""
    mixer = MemoryMix(num_classes=CLASSES, size=(8, 8), rate=1e9, turn=-1.0, memory=2)
    method = build("dist", mixer=mixer)
    method.visuals = {}
    run(method, adam(method), range(2))
    assert (mixer.confidence > 0).any()
    batch = make_batch(1)
    assert torch.equal(method.visuals["source_label"], batch.source.label)
