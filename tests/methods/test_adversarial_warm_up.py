"""Adversarial warm-up: two optimisers, steps of the released order, errors."""

from __future__ import annotations

import copy

import pytest
import torch

from uda.losses import domain_loss
from uda.methods import AdversarialWarmUp, DualTeacherStudent, SelfTraining
from uda.methods.base import PlainOptimiser
from uda.selftraining import AdversarialOutput, EntropyMinimisation, LookAhead
from uda.structures import Batch

from .tiny import make_adversarial, make_batch, make_self_training, make_student, optimisers, sgd


@pytest.mark.parametrize("backward", ["each", "joint"])
def test_steps_are_those_of_the_released_order_values(backward: str) -> None:
    """One step of ours equals, in float64: student's step, D's gradients cleared, D's step."""
    method = make_adversarial(make_student(dropout=0.0).double())
    method.backward = backward  # type: ignore[assignment]
    other = copy.deepcopy(method)
    batch = make_batch(size=32, dtype=torch.float64)
    assert batch.target is not None
    log = method.training_step(batch, optimisers(method))

    (term,) = other.terms
    assert isinstance(term, AdversarialOutput)
    student, discriminator = (torch.optim.SGD(m.parameters(), 0.05) for m in (other.student, term))
    source = other.student_pass(batch.source.image)
    target = other.student_pass(batch.target.image)
    scores = [term.discriminator(x.logits.softmax(1)) for x in (source, target)]
    supervised = other.supervised(source, batch.source.label)["ce"]
    (supervised + 0.1 * domain_loss(scores[1], 0)).backward()
    student.step()
    discriminator.zero_grad()
    scores = [term.discriminator(x.logits.detach().softmax(1)) for x in (source, target)]
    halves = domain_loss(scores[0], 0) + domain_loss(scores[1], 1)
    (halves / 2).backward()
    discriminator.step()
    for ours, theirs in zip(method.parameters(), other.parameters(), strict=True):
        # losses are taken in float32
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)
    assert log["discriminator/squares"].item() == pytest.approx(halves.item() / 2, rel=1e-5)
    # what the discriminator minimises is none of the student's losses
    torch.testing.assert_close(log["loss"], log["source/ce"] + log["target/adversarial"])


def test_other_method_with_opponent_values() -> None:
    """Self-training takes the term as well; teacher and discriminator both move."""
    student = make_student()
    term = AdversarialOutput(num_classes=4, channels=2)
    method = make_self_training(student, terms=[term])
    assert isinstance(method, SelfTraining)
    assert list(method.opponents()) == ["discriminator"]
    before = copy.deepcopy(term.discriminator.state_dict())
    log = method.training_step(make_batch(size=32), optimisers(method))
    assert {"target/adversarial", "discriminator/squares"} <= set(log)
    after = term.discriminator.state_dict()
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_warm_up_errors() -> None:
    """No adversarial term, no optimiser for the discriminator, no target images."""
    student = make_student()
    with pytest.raises(ValueError, match="AdversarialWarmUp without AdversarialOutput is source"):
        AdversarialWarmUp(student=student, terms=[EntropyMinimisation()])
    method = make_adversarial(student)
    with pytest.raises(ValueError, match="trains a discriminator, which needs an optimiser"):
        method.training_step(make_batch(size=32), PlainOptimiser(sgd(method)))
    with pytest.raises(ValueError, match="AdversarialWarmUp needs target images"):
        method.training_step(Batch(make_batch(size=32).source), optimisers(method))


def test_opponent_elsewhere_errors() -> None:
    """Virtual steps would teach the opponent for good; a group has no optimiser for it."""

    def group(seed: int) -> SelfTraining:
        term = AdversarialOutput(num_classes=3, channels=2)
        return make_self_training(make_student(seed), terms=[term])

    with pytest.raises(
        ValueError, match=r"\['discriminator'\] would learn from them for good: rem"
    ):
        group(0).use_look_ahead(LookAhead(steps=1))
    with pytest.raises(
        ValueError, match=r"primary has the opponent \['discriminator'\]; a term th"
    ):
        DualTeacherStudent(primary=group(0), secondary=group(1))
