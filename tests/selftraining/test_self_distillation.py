"""Targets that soften: the sum is the cross-entropy of the mixture, and alpha rises."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from uda.losses import weighted_cross_entropy
from uda.selftraining import ProgressiveSelfDistillation
from uda.structures import Labelled, NetworkOutput


def ingredients(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Labelled]:
    """Logits with gradient, a teacher's probabilities, an image and its label with 255."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    probs = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64).softmax(1)
    label = torch.randint(3, (2, 4, 5), generator=generator)
    label[:, 0] = 255
    image = torch.zeros(2, 3, 4, 5, dtype=torch.float64)
    return logits, probs, image, Labelled(image, label)


def test_self_distillation_parity() -> None:
    """Cross-entropy and term together are the soft cross-entropy of PS-KD, gradient included.

    alpha = 0.8 (i + 1) / 4 = 0.2, 0.4, 0.6, 0.8 and stays.
    """
    logits, probs, _, source = ingredients()
    term = ProgressiveSelfDistillation(final=0.8, iterations=4)
    term.use_teacher(lambda image: probs)
    labelled = source.label != 255
    hot = F.one_hot(torch.where(labelled, source.label, 0), 3).movedim(-1, 1).double()
    for alpha in (0.2, 0.4, 0.6, 0.8, 0.8):
        soft = (1 - alpha) * hot + alpha * probs
        wanted = ((-soft * logits.log_softmax(1)).sum(1) * labelled).mean()
        found = weighted_cross_entropy(logits, source.label)
        found = found + term.source_loss(NetworkOutput(logits), source)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)
        one, two = (torch.autograd.grad(x, logits, retain_graph=True)[0] for x in (found, wanted))
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-9)
        assert one[:, :, 0].abs().max() == 0  # no label, no gradient


def test_no_distillation_values() -> None:
    """final = 0 adds exactly 0; two teachers give their mean; the count is saved."""
    logits, probs, _, source = ingredients()
    term = ProgressiveSelfDistillation(final=0.0)
    term.use_teacher(lambda image: probs)
    assert term.source_loss(NetworkOutput(logits), source).item() == 0
    one, two = (ProgressiveSelfDistillation(iterations=1) for _ in range(2))
    one.use_teacher(lambda image: torch.stack([probs, probs.flip(1)]))
    two.use_teacher(lambda image: (probs + probs.flip(1)) / 2)
    values = [t.source_loss(NetworkOutput(logits), source) for t in (one, two)]
    torch.testing.assert_close(*values)
    assert one.state_dict()["iteration"].item() == 1


def test_nothing_labelled_values() -> None:
    """Without a labelled pixel the term is 0 with zero gradient."""
    logits, probs, image, source = ingredients()
    term = ProgressiveSelfDistillation(iterations=1)
    term.use_teacher(lambda image: probs)
    loss = term.source_loss(
        NetworkOutput(logits), Labelled(image, torch.full_like(source.label, 255))
    )
    assert loss.item() == 0
    assert torch.autograd.grad(loss, logits)[0].abs().max() == 0


def test_self_distillation_errors() -> None:
    """Numbers out of range, and a method that gave it no teacher."""
    with pytest.raises(ValueError, match=r"final has to lie in \[0, 1\], not 1.5"):
        ProgressiveSelfDistillation(final=1.5)
    with pytest.raises(ValueError, match="iterations has to be at least 1, not 0"):
        ProgressiveSelfDistillation(iterations=0)
    logits, _, _, source = ingredients()
    with pytest.raises(RuntimeError, match="ProgressiveSelfDistillation needs a teacher"):
        ProgressiveSelfDistillation().source_loss(NetworkOutput(logits), source)
