"""Masked consistency in every method: whose labels, how many passes, look-ahead, restart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.methods import (
    AdversarialWarmUp,
    DualTeacherStudent,
    HardAwareSelfTraining,
    Method,
    SelfTraining,
    SourceOnly,
)
from uda.selftraining import (
    AdversarialOutput,
    ColorJitterBlur,
    ConfidenceShare,
    EMATeacher,
    LookAhead,
    MaskedConsistency,
    ProgressiveSelfDistillation,
    TargetMix,
)

from .tiny import (
    CLASSES,
    make_batch,
    make_hard_aware,
    make_self_training,
    make_student,
    optimisers,
)


def masked(student: nn.Module | None = None, **arguments: Any) -> MaskedConsistency:
    """Blocks of 4 pixels; with a student a teacher of its own."""
    if student is not None:
        arguments.update(
            teacher=EMATeacher(student, decay=0.8), selector=ConfidenceShare(threshold=0.3)
        )
    return MaskedConsistency(block_size=4, **arguments)


def make_mic(student: nn.Module, *, own: bool = False, **arguments: Any) -> SelfTraining:
    """DAFormer's parts and masked consistency."""
    return make_self_training(student, terms=[masked(student if own else None, **arguments)])


def make_source(student: nn.Module) -> SourceOnly:
    """Source-only training with consistency on the target by an own teacher."""
    method = SourceOnly(student=student, terms=[masked(student)])
    method.initialise()
    return method


def make_aligned(student: nn.Module) -> AdversarialWarmUp:
    """Adversarial warm-up with the same."""
    opponent = AdversarialOutput(num_classes=CLASSES, weight=0.1, channels=4)
    method = AdversarialWarmUp(student=student, terms=[opponent, masked(student)])
    method.initialise()
    return method


def make_dual(student: nn.Module, **secondary: Any) -> DualTeacherStudent:
    """Two groups; the secondary one has an own teacher for its masked images."""
    groups = [make_mic(student), make_mic(make_student(1), own=True)]
    if secondary:
        groups[1].use_look_ahead(LookAhead(**secondary))
    method = DualTeacherStudent(
        primary=groups[0], secondary=groups[1], target_mix=TargetMix(num_classes=CLASSES)
    )
    method.initialise()
    return method


def make_target_only(student: nn.Module) -> HardAwareSelfTraining:
    """A round of HIAST with masked weak views."""
    return make_hard_aware(student, terms=[masked()])


def make_ahead(student: nn.Module) -> SelfTraining:
    """FST over MIC with an own teacher."""
    method = make_mic(student, own=True)
    method.use_look_ahead(LookAhead(steps=2))
    return method


MAKERS: dict[str, Callable[[nn.Module], Method]] = {
    "target": make_mic,
    "view": lambda s: make_mic(s, view=ColorJitterBlur()),
    "halves": lambda s: make_mic(s, images="halves"),
    "source": lambda s: make_mic(s, images="source"),
    "own": lambda s: make_mic(s, own=True),
    "source only": make_source,
    "adversarial": make_aligned,
    "target only": make_target_only,
    "dual": make_dual,
    "dual ahead": lambda s: make_dual(s, steps=1),
    "ahead": make_ahead,
}


def adam(method: Method) -> torch.optim.Optimizer:
    return torch.optim.AdamW(method.trained().parameters(), lr=1e-2)


def run(method: Method, optimiser: torch.optim.Optimizer, steps: range) -> list[dict[str, Tensor]]:
    """Seeded iterations on images of 32 pixels, which a discriminator needs."""
    everyone = optimisers(method, lr=0.01)
    everyone._optimiser = optimiser
    logs = []
    for seed in steps:
        torch.manual_seed(seed)
        logs.append(method.training_step(make_batch(seed, 32), everyone))
    return logs


@pytest.mark.parametrize("name", MAKERS)
def test_every_method_properties(name: str) -> None:
    """The masked pass is there, finite, and its gradient moves the student.

    With weight 0 everything else stays the same: passes, draws, running statistics.
    """
    logs, weights = [], []
    for weight in (0.0, 1.0):
        method = MAKERS[name](make_student(dropout=0.0)).train()
        for term in (m for m in method.modules() if isinstance(m, MaskedConsistency)):
            term.weight = weight
        logs.append(run(method, adam(method), range(2))[-1])
        weights.append(list(method.trained().parameters()))
    assert all(bool(value.isfinite()) for value in logs[1].values())
    keys = [key for key in logs[1] if key.endswith("masked/ce")]
    assert len(keys) == (2 if name.startswith("dual") else 1)
    for key in keys:
        assert logs[0][key] == 0 < logs[1][key]
    assert any(not torch.equal(one, two) for one, two in zip(*weights, strict=True))


@pytest.mark.parametrize("own", [False, True])
def test_teacher_passes_values(own: bool) -> None:
    """The host's labels are used again: its teacher runs once; an own one runs once beside it."""
    method = make_mic(make_student(), own=own)
    (term,) = method.terms
    calls = {"host": 0, "own": 0, "student": 0}

    def count(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            calls[name] += 1

        return hook

    method.teacher.network.register_forward_hook(count("host"))
    method.student.register_forward_hook(count("student"))
    if own:
        assert isinstance(term, MaskedConsistency)
        assert term.teacher is not None
        term.teacher.network.register_forward_hook(count("own"))
    run(method, adam(method), range(1))
    assert calls == {"host": 1, "own": int(own), "student": 3}


def test_labels_of_the_host_values() -> None:
    """Label and weight of the masked pass are those the mixed image was made of."""
    method = make_mic(make_student())
    (term,) = method.terms
    seen: list[Any] = []

    def mixer(source: Any, target: Any, pseudo: Any) -> Any:
        seen.append(pseudo)
        return former(source, target, pseudo)

    former = method.mixer.forward
    method.mixer.forward = mixer  # type: ignore[method-assign, assignment]
    given: list[tuple[Tensor, Tensor | None]] = []

    def supervised(output: Any, label: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
        given.append((label, weight))
        return method.supervised(output, label, weight)

    term.use_supervision(supervised)
    run(method, adam(method), range(1))
    ((label, weight),) = given
    assert label is seen[0].label
    assert weight is seen[0].weight


def test_routes_of_a_group_values() -> None:
    """In two groups a term without an own teacher learns from the routed labels."""
    method = make_dual(make_student())
    term = method.primary.terms[0]
    given: list[Tensor] = []

    def supervised(output: Any, label: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
        given.append(label)
        return method.primary.supervised(output, label, weight)

    term.use_supervision(supervised)
    batch = make_batch(0)
    assert batch.target is not None
    run(method, adam(method), range(1))
    other = make_dual(make_student())
    for group in other.groups:
        group.update_teacher()
    target = make_batch(0, 32).target
    assert target is not None
    wanted = other.secondary.label_target(target).label  # the route is "cross"
    assert torch.equal(given[0], wanted)


@pytest.mark.parametrize("name", ["own", "ahead", "dual ahead"])
def test_own_teacher_follows_once_values(name: str) -> None:
    """One update an iteration, towards the real student of the last one, virtual steps or not."""
    method = MAKERS[name](make_student()).train()
    (term,) = (
        m for m in method.modules() if isinstance(m, MaskedConsistency) and m.teacher is not None
    )
    assert term.teacher is not None
    group = method.secondary if isinstance(method, DualTeacherStudent) else method
    optimiser = adam(method)
    wanted = copy.deepcopy(term.teacher)
    for step in range(3):
        wanted.update(group.student)
        run(method, optimiser, range(step, step + 1))
        assert term.teacher.updates == step + 1
        for one, two in zip(
            term.teacher.network.parameters(), wanted.network.parameters(), strict=True
        ):
            assert torch.equal(one, two)


@pytest.mark.parametrize("name", MAKERS)
def test_masked_consistency_resume(name: str) -> None:
    """Two iterations, a state dict, two more in a new method: as four at once, to the bit."""
    straight = MAKERS[name](make_student()).train()
    optimiser = adam(straight)
    run(straight, optimiser, range(2))
    discriminators = copy.deepcopy(straight.opponents())
    saved = copy.deepcopy((straight.state_dict(), optimiser.state_dict()))
    resumed = MAKERS[name](make_student(5)).train()
    other = adam(resumed)
    resumed.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    assert discriminators.keys() == resumed.opponents().keys()
    logs = [run(m, o, range(2, 4)) for m, o in ((straight, optimiser), (resumed, other))]
    assert logs[0] == logs[1]
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_clean_look_ahead_redraws_the_mask_values() -> None:
    """With draws put back, a virtual step hides the same blocks as the real one."""
    method = make_mic(make_student())
    method.use_look_ahead(LookAhead(steps=2))
    (term,) = method.terms
    masks: list[Tensor] = []
    assert isinstance(term, MaskedConsistency)
    term.mask.register_forward_hook(lambda _, __, out: masks.append(out != 0))
    run(method, adam(method), range(2))
    assert len(masks) == 4  # the first iteration has no virtual step
    assert torch.equal(masks[1], masks[2])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[1])


def test_target_only_labels_from_disk_values() -> None:
    """In a round of HIAST the masked weak view learns the labels of the set."""
    method = make_target_only(make_student())
    given: list[tuple[Tensor, Tensor | None]] = []

    def supervised(output: Any, label: Tensor, weight: Tensor | None) -> dict[str, Tensor]:
        given.append((label, weight))
        return method.supervised(output, label, weight)

    method.terms[0].use_supervision(supervised)
    run(method, adam(method), range(1))
    label = make_batch(0, 32).source.label
    assert torch.equal(given[0][0], label)
    assert given[0][1] is not None
    assert torch.equal(given[0][1], (label != 255).float())


@pytest.mark.parametrize("name", ["view", "halves", "own", "source only", "ahead"])
def test_training_step_reads_nothing_properties(name: str) -> None:
    """Reading a value of a tensor on torch's meta device raises."""
    method = MAKERS[name](make_student()).to("meta")
    batch = make_batch()
    assert batch.target is not None
    batch.source.image, batch.source.label, batch.target.image = (
        t.to("meta") for t in (batch.source.image, batch.source.label, batch.target.image)
    )
    optimiser = optimisers(method)
    for _ in range(2):
        log = method.training_step(batch, optimiser)
    assert all(value.is_meta for value in log.values())


@pytest.mark.parametrize("kind", [SourceOnly, AdversarialWarmUp])
@pytest.mark.parametrize("cls", [MaskedConsistency, ProgressiveSelfDistillation])
def test_without_any_teacher_errors(kind: Any, cls: Any) -> None:
    """Where nobody labels the target a term needs its own teacher, and is told so at once."""
    opponent = AdversarialOutput(num_classes=CLASSES, channels=2)
    message = f"{cls.__name__} learns from a teacher's.*{kind.__name__} has no teacher: use"
    with pytest.raises(ValueError, match=message):
        kind(student=make_student(), terms=[opponent, cls()])
    kind(student=make_student(), terms=[opponent, MaskedConsistency(images="source")])
