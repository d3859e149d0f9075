"""Source-only training: one step by hand, and no look at the target."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from uda.methods import SourceOnly
from uda.methods.base import PlainOptimiser
from uda.selftraining import ProgressiveSelfDistillation

from .tiny import make_batch, make_source_only, make_student, sgd


def test_source_only_parity() -> None:
    """One step is gradient descent on cross-entropy, summed over labelled pixels, over all."""
    student = make_student(dropout=0.0)
    script = copy.deepcopy(student)
    batch = make_batch()
    method = SourceOnly(student=student)
    log = method.training_step(batch, PlainOptimiser(sgd(method, lr=0.1)))
    logits = script(batch.source.image).logits
    loss = F.cross_entropy(logits, batch.source.label, ignore_index=255, reduction="sum")
    loss = loss / batch.source.label.numel()
    loss.backward()
    torch.testing.assert_close(log["source/ce"], loss.detach())
    assert set(log) == {"source/ce", "source/accuracy", "loss"}
    for wanted, found in zip(script.parameters(), student.parameters(), strict=True):
        assert wanted.grad is not None
        torch.testing.assert_close(found, wanted - 0.1 * wanted.grad)


def test_source_only_target_properties() -> None:
    """Target images change nothing; a batch without them is fine."""
    results = []
    for target in (make_batch().target, None):
        batch = make_batch()
        batch.target = target
        method = make_source_only(make_student())
        torch.manual_seed(0)
        results.append(method.training_step(batch, PlainOptimiser(sgd(method))))
    assert results[0] == results[1]
    assert "source/feature_distance" in results[0]


def test_source_only_visuals_values() -> None:
    """Image and label are shown, without graph."""
    method = make_source_only(make_student())
    method.visuals = {}
    method.training_step(make_batch(), PlainOptimiser(sgd(method)))
    assert set(method.visuals) == {"source_image", "source_label"}
    assert set(method.networks()) == {"student"}


def test_average_over_labelled_pixels_values() -> None:
    """With half of the pixels ignored the mean over labelled ones is twice that over all."""
    batch = make_batch()
    batch.source.label[:, ::2] = 255
    student = make_student().eval()
    losses = {}
    for average in ("all", "valid"):
        method = SourceOnly(student=student, average=average)
        losses[average] = next(method.passes(batch)).losses["ce"].item()
    assert losses["valid"] == pytest.approx(2 * losses["all"], rel=1e-5)


def test_unknown_average_errors() -> None:
    with pytest.raises(ValueError, match='average has to be "all" or "valid", not'):
        SourceOnly(student=make_student(), average="some")  # type: ignore[arg-type]


def test_term_without_teacher_errors() -> None:
    """A term that learns from a teacher is refused at once."""
    with pytest.raises(ValueError, match="ProgressiveSelfDistillation learns from a teacher's"):
        SourceOnly(student=make_student(), terms=[ProgressiveSelfDistillation()])
