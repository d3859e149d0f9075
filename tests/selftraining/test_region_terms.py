"""Terms on regions: which pixels count where, weights, and the teacher they ask for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uda.losses import region_consistency, region_entropy, uniform_divergence
from uda.selftraining import EMATeacher, RegionConsistency, RegionRegularisation
from uda.selftraining.mixers import paste
from uda.selftraining.terms import TermList
from uda.selftraining.terms.regions import region
from uda.structures import Labelled, Mixed, NetworkOutput, PseudoLabel, Unlabelled


def mixed_of(**changes: Any) -> Mixed:
    """One row: kept, kept with weight 0, ignored, ignored in padding."""
    label = torch.tensor([[[1, 0, 255, 255]]])
    arguments: dict[str, Any] = {
        "image": torch.zeros(1, 3, 1, 4),
        "label": label,
        "weight": torch.tensor([[[1.0, 0, 0, 0]]]),
        "mask": torch.zeros(1, 1, 1, 4, dtype=torch.bool),
        "valid": torch.tensor([[[True, True, True, False]]]),
    }
    return Mixed(**{**arguments, **changes})


def logits_of(seed: int = 0) -> Tensor:
    """Logits (1, 3, 1, 4)."""
    return torch.randn(1, 3, 1, 4, generator=torch.Generator().manual_seed(seed))


def test_region_values() -> None:
    """Weight 0 is neither confident nor ignored; padding is in no region."""
    mixed = mixed_of()
    assert region(mixed, "confident").tolist() == [[[True, False, False, False]]]
    assert region(mixed, "ignored").tolist() == [[[False, False, True, False]]]
    assert region(mixed, "all").tolist() == [[[True, True, True, False]]]
    everywhere = mixed_of(valid=None)
    assert region(everywhere, "ignored").tolist() == [[[False, False, True, True]]]


def test_regularisation_values() -> None:
    """0.1 of the divergence where kept and 3 of the entropy where ignored; equal logits by hand.

    Equal logits: both parts are log K; with the reference's normalisation log K / K.
    """
    logits = logits_of()
    kept, ignored = region(mixed_of(), "confident"), region(mixed_of(), "ignored")
    found = RegionRegularisation().mixed_loss(NetworkOutput(logits), mixed_of())
    wanted = 0.1 * uniform_divergence(logits, kept) + 3 * region_entropy(logits, ignored)
    torch.testing.assert_close(found, wanted)
    equal = NetworkOutput(0 * logits)
    term = RegionRegularisation(normalisation="pixels", ignored_weight=1.0)
    assert term.mixed_loss(equal, mixed_of()).item() == pytest.approx(1.1 * math.log(3))
    assert RegionRegularisation().mixed_loss(equal, mixed_of()).item() == pytest.approx(
        3.1 * math.log(3) / 3
    )


@pytest.mark.parametrize("label", [0, 255], ids=["all_kept", "all_ignored"])
def test_one_region_empty_grad(label: int) -> None:
    """A crop that is kept or ignored as a whole: a finite loss and gradient."""
    logits = logits_of().requires_grad_()
    mixed = mixed_of(
        label=torch.full((1, 1, 4), label), weight=torch.ones(1, 1, 4), teacher_probs=logits_of(1)
    )
    for term in (RegionRegularisation(), RegionConsistency()):
        loss = term.mixed_loss(NetworkOutput(logits), mixed)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()
    if label == 0:  # nothing ignored: no consistency
        assert loss.item() == 0
        assert gradient.abs().max() == 0


@pytest.mark.parametrize("name", ["ignored", "confident", "all"])
def test_consistency_values(name: Any) -> None:
    """Half of the loss over the chosen region."""
    logits, probs = logits_of(), logits_of(1).softmax(1)
    mixed = mixed_of(teacher_probs=probs)
    for kind in ("cross_entropy", "squared", "divergence"):
        term = RegionConsistency(region=name, kind=kind)  # type: ignore[arg-type]
        wanted = 0.5 * region_consistency(logits, probs, region(mixed, name), kind=kind)  # type: ignore[arg-type]
        torch.testing.assert_close(term.mixed_loss(NetworkOutput(logits), mixed), wanted)


def test_teacher_is_asked_only_if_needed_values() -> None:
    """The teacher sees the image as it is then; without a term that asks it is not run."""
    teacher = EMATeacher(nn.Conv2d(3, 3, 1), mode="eval")
    mixed = mixed_of(image=torch.randn(1, 3, 1, 4))
    TermList([RegionRegularisation()]).add_teacher(mixed, teacher)
    assert mixed.teacher_probs is None
    TermList([RegionRegularisation(), RegionConsistency()]).add_teacher(mixed, teacher)
    assert mixed.teacher_probs is not None
    assert torch.equal(mixed.teacher_probs, teacher.predict(mixed.image))


def test_mixed_padding_values() -> None:
    """Of mixed images the target's padding is invalid, save where source was pasted over it."""
    label = torch.zeros(1, 1, 2, dtype=torch.int64)
    image, weight = torch.zeros(1, 3, 1, 2), torch.ones(1, 1, 2)
    mask = torch.tensor([[[[True, False]]]])
    target = Unlabelled(image, torch.tensor([[[False, False]]]))
    pseudo = PseudoLabel(label, weight, weight)
    valid = paste(mask, Labelled(image, label), target, pseudo).valid
    assert valid is not None
    assert valid.tolist() == [[[True, False]]]
    assert paste(mask, Labelled(image, label), Unlabelled(image), pseudo).valid is None


def test_region_term_errors() -> None:
    """Unknown settings are told at construction; a missing teacher when it is needed."""
    with pytest.raises(ValueError, match="normalisation has to be .* not 'nonzero_terms'"):
        RegionRegularisation(normalisation="nonzero_terms")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="region has to be \"ignored\", .* not 'kept'"):
        RegionConsistency(region="kept")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind has to be .* not 'l2'"):
        RegionConsistency(kind="l2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="normalisation has to be .* not 'mean'"):
        RegionConsistency(normalisation="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs the teacher's probabilities of the weak view"):
        RegionConsistency().mixed_loss(NetworkOutput(logits_of()), mixed_of())
