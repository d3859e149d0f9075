"""Self-training: one iteration against a plain script, who moves, what is logged, restarts."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uda.methods import SelfTraining
from uda.methods.base import PlainOptimiser
from uda.selftraining import (
    ClassMix,
    ConfidenceShare,
    CutMix,
    EMATeacher,
    FourierStyle,
    ProgressiveSelfDistillation,
    TeacherDivergence,
)
from uda.selftraining.selectors import Selector
from uda.structures import Batch, PseudoLabel, Unlabelled

from .tiny import CLASSES, make_batch, make_self_training, make_student, sgd


def step(method: SelfTraining, seed: int = 0, lr: float = 0.05) -> dict[str, Tensor]:
    """One seeded iteration."""
    torch.manual_seed(seed)
    return method.training_step(make_batch(seed), PlainOptimiser(sgd(method, lr)))


def test_training_step_names_values() -> None:
    """The log holds these names, and the loss is the sum of the losses among them."""
    log = step(make_self_training(make_student()))
    losses = {"source/ce", "source/feature_distance", "mixed/ce", "target/entropy"}
    metrics = {"source/accuracy", "mixed/accuracy", "mixed/pseudo_weight", "mixed/confidence"}
    metrics |= {"mixed/largest_class"}
    assert set(log) == losses | metrics | {"loss"}
    torch.testing.assert_close(log["loss"], torch.stack([log[k] for k in losses]).sum())
    assert all(value.shape == () for value in log.values())


def test_training_step_parity() -> None:
    """A plain script of the same iteration moves the same weights to the same place.

    Teacher: a copy in its first iteration, with batch statistics; weight: the share of confident
    pixels of each image; mixed image: source pixels of the drawn classes on the target image.
    """
    student = make_student(dropout=0.0)
    script = copy.deepcopy(student)
    mixer = ClassMix(num_classes=CLASSES)
    method = make_self_training(student, view=None, terms=[], mixer=mixer)
    step(method, seed=3, lr=0.1)

    batch = make_batch(3)
    assert batch.target is not None
    source_loss = F.cross_entropy(
        script(batch.source.image).logits, batch.source.label, ignore_index=255, reduction="sum"
    )
    with torch.no_grad():
        probs = copy.deepcopy(script)(batch.target.image).logits.softmax(1)
    confidence, pseudo = probs.max(1)
    torch.manual_seed(3)
    chosen = mixer.choose(batch.source.label)
    images, losses = [], []
    for i in range(2):
        pasted = torch.isin(batch.source.label[i], chosen[i].nonzero().flatten())
        images.append(torch.where(pasted, batch.source.image[i], batch.target.image[i]))
        share = (confidence[i] >= 0.3).float().mean()
        losses.append((pasted, torch.where(pasted, batch.source.label[i], pseudo[i]), share))
    logits = script(torch.stack(images)).logits
    mixed_loss = torch.zeros(())
    for i, (pasted, label, share) in enumerate(losses):
        each = F.cross_entropy(logits[i : i + 1], label[None], ignore_index=255, reduction="none")
        mixed_loss = mixed_loss + (each[0] * torch.where(pasted, 1.0, share)).sum()
    pixels = batch.source.label.numel()
    ((source_loss + mixed_loss) / pixels).backward()
    for wanted, found in zip(script.parameters(), student.parameters(), strict=True):
        assert wanted.grad is not None
        torch.testing.assert_close(found, wanted - 0.1 * wanted.grad, rtol=1e-4, atol=1e-6)


def test_training_step_grad() -> None:
    """Only the student gets gradients and moves by the optimiser; the frozen encoder stays."""
    method = make_self_training(make_student())
    before = copy.deepcopy(method.state_dict())
    step(method)
    trainable = [name for name, p in method.named_parameters() if p.requires_grad]
    assert trainable
    assert all(name.startswith("student.") for name in trainable)
    for name, parameter in method.named_parameters():
        is_student = name.startswith("student.")
        assert (parameter.grad is not None) == is_student, name
        # The first update of the teacher copies the student as it was.
        assert torch.equal(parameter, before[name]) == (not is_student), name


def test_teacher_lags_values() -> None:
    """The teacher moves at the start: in step 1 the first student, in step 2 the mean of both."""
    method = make_self_training(make_student())
    first = method.student.head.weight.detach().clone()  # type: ignore[union-attr, operator]
    step(method, 0)
    second = method.student.head.weight.detach().clone()  # type: ignore[union-attr, operator]
    teacher = method.teacher.network.head.weight  # type: ignore[union-attr]
    assert torch.equal(teacher, first)
    step(method, 1)
    torch.testing.assert_close(teacher, (first + second) / 2)


def test_initialise_values() -> None:
    """The teacher and the frozen encoder start from the student as it is then, buffers included."""
    method = make_self_training(make_student(0))
    method.student.load_state_dict(make_student(1).state_dict())
    method.student.body.norm.running_mean.fill_(3)  # type: ignore[union-attr, operator]
    method.initialise()
    for name, value in method.student.state_dict().items():
        assert torch.equal(method.teacher.network.state_dict()[name], value)
    frozen = method.terms[0].encoder.state_dict()  # type: ignore[union-attr, operator]
    assert torch.equal(frozen["fine.weight"], method.student.body.fine.weight)  # type: ignore[union-attr]
    assert set(method.networks()) == {"student", "teacher"}


def test_label_route_values() -> None:
    """Pseudo-labels come from wherever `label_route` leads."""
    method = make_self_training(make_student(), terms=[], mixer=CutMix(share=(0.01, 0.01)))
    asked: list[Unlabelled] = []

    def elsewhere(target: Unlabelled) -> PseudoLabel:
        asked.append(target)
        shape = (len(target.image), *target.image.shape[2:])
        return PseudoLabel(torch.ones(shape).long(), torch.full(shape, 0.25), torch.ones(shape))

    method.label_route = elsewhere
    log = step(method)
    assert len(asked) == 1
    assert log["mixed/pseudo_weight"].item() == 0.25
    assert log["mixed/confidence"].item() == 1


def test_valid_values() -> None:
    """Where the target is padding nothing is believed: half of the image, half of the weight."""
    weights = []
    for valid in (None, torch.zeros(2, 16, 16, dtype=torch.bool)):
        batch = make_batch()
        assert batch.target is not None
        if valid is not None:
            valid[:, :8] = True
        batch.target.valid = valid
        method = make_self_training(make_student(), selector=ConfidenceShare(threshold=0.0))
        torch.manual_seed(0)
        log = method.training_step(batch, PlainOptimiser(sgd(method)))
        weights.append(log["mixed/pseudo_weight"].item())
    assert weights == [1, 0.5]


def test_visuals_values() -> None:
    """Asked for, an iteration keeps its tensors without graph; not asked for, nothing."""
    method = make_self_training(make_student())
    step(method)
    assert method.visuals is None
    method.visuals = {}
    step(method)
    shown: dict[str, Tensor] = method.visuals
    assert {n.split("_")[0] for n in shown} == {"source", "target", "pseudo", "mixed"}
    assert not any(tensor.requires_grad for tensor in shown.values())
    assert shown["mixed_image"].shape == (2, 3, 16, 16)


def test_self_training_resume() -> None:
    """Saved after two of four iterations and loaded into a fresh method: equal to the bit."""

    def optimiser(method: SelfTraining) -> torch.optim.Adam:
        return torch.optim.Adam(method.student.parameters(), lr=1e-2)

    def run(method: SelfTraining, adam: torch.optim.Adam, steps: range) -> None:
        for seed in steps:
            torch.manual_seed(seed)
            method.training_step(make_batch(seed), PlainOptimiser(adam))

    straight = make_self_training(make_student())
    run(straight, optimiser(straight), range(4))
    first = make_self_training(make_student())
    adam = optimiser(first)
    run(first, adam, range(2))
    second = make_self_training(make_student(9))
    resumed = optimiser(second)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    resumed.load_state_dict(copy.deepcopy(adam.state_dict()))
    run(second, resumed, range(2, 4))
    for name, value in straight.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


class Peeking(Selector):
    """A selector that reads a number from the device."""

    def select(
        self, probs: Tensor, label: Tensor, confidence: Tensor, trusted: Tensor
    ) -> PseudoLabel:
        """Weigh by a number the host has asked for."""
        return PseudoLabel(label, confidence * float(confidence.mean()), confidence)


def on_device(device: str, **changes: Any) -> tuple[SelfTraining, Batch]:
    """Method and batch on a device; the teacher has been updated since it was made."""
    method = make_self_training(make_student(), **changes).to(device)
    batch = make_batch(size=32)
    assert batch.target is not None
    batch.source.image, batch.source.label = (
        batch.source.image.to(device),
        batch.source.label.to(device),
    )
    batch.target.image = batch.target.image.to(device)
    batch.target.valid = torch.ones_like(batch.source.label, dtype=torch.bool)
    return method, batch


@pytest.mark.parametrize("mixer", [ClassMix(num_classes=CLASSES), CutMix()])
@pytest.mark.parametrize("candidates", ["batch", "image"])
def test_training_step_reads_nothing_properties(mixer: nn.Module, candidates: str) -> None:
    """No iteration reads a value from the device, so none has to wait for it.

    Tensors on torch's meta device have shapes but no values: reading one (`item`, `tolist`, `if`,
    `nonzero`, a boolean index, a copy to the host) raises. The view draws its random numbers on
    the host and reads those; that is by design and costs no waiting.
    """
    if isinstance(mixer, ClassMix):
        mixer = ClassMix(num_classes=CLASSES, candidates=candidates)  # type: ignore[arg-type]
    method, batch = on_device("meta", mixer=mixer)
    for _ in range(3):
        log = method.training_step(batch, PlainOptimiser(sgd(method)))
    assert all(value.is_meta for value in log.values())


def test_training_step_that_reads_errors() -> None:
    """The check itself: a selector that reads a number is caught."""
    method, batch = on_device("meta", selector=Peeking())
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|item\(\)"):
        method.training_step(batch, PlainOptimiser(sgd(method)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_step_waits_for_nothing_properties() -> None:
    """On a GPU, with torch set to raise at any synchronisation, iterations run through."""
    method, batch = on_device("cuda")
    adam = torch.optim.AdamW(method.student.parameters(), fused=True)
    method.training_step(batch, PlainOptimiser(adam))  # compiles and allocates
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            method.training_step(batch, PlainOptimiser(adam))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_self_training_errors() -> None:
    """A batch without target images is refused."""
    method = SelfTraining(
        student=(student := make_student()),
        teacher=EMATeacher(student),
        selector=ConfidenceShare(),
        mixer=CutMix(),
    )
    batch = make_batch()
    batch.target = None
    with pytest.raises(ValueError, match="SelfTraining needs target images"):
        method.training_step(batch, PlainOptimiser(sgd(method)))


def test_teachers_errors() -> None:
    """A selector that compares two teachers is refused with one, at construction."""
    with pytest.raises(ValueError, match="TeacherDivergence compares two teachers, EMATeacher is"):
        make_self_training(make_student(), selector=TeacherDivergence())


def test_source_style_values() -> None:
    """Styled source images are learnt from and pasted; the target images stay."""
    plain = make_self_training(make_student(dropout=0.0), view=None, terms=[])
    styled = make_self_training(
        make_student(dropout=0.0), view=None, terms=[], source_style=FourierStyle(share=0.2)
    )
    seen: list[Tensor] = []
    for method in (plain, styled):
        method.student.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        step(method)
    batch = make_batch(0)
    assert batch.target is not None
    assert torch.equal(seen[0], batch.source.image)
    wanted = FourierStyle(share=0.2).transfer(batch.source.image, batch.target.image)
    assert torch.equal(seen[2], wanted)
    pasted = seen[1] != batch.target.image
    torch.testing.assert_close(seen[3], torch.where(pasted, wanted, batch.target.image))


def test_self_distillation_in_the_step_values() -> None:
    """The term gets the teacher's prediction of source images; its loss joins the source pass."""
    method = make_self_training(
        make_student(), terms=[ProgressiveSelfDistillation(final=0.5, iterations=1)]
    )
    log = step(method)
    assert log["source/self_distillation"] != 0
    torch.testing.assert_close(
        log["loss"], log["source/ce"] + log["source/self_distillation"] + log["mixed/ce"]
    )
