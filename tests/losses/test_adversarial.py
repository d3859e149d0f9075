"""Losses of a discriminator's scores: by hand, gradients, errors."""

from __future__ import annotations

import math

import pytest
import torch

from uda.losses import domain_loss
from uda.losses.adversarial import Adversary


def test_domain_loss_values() -> None:
    """Scores 0.5 and 2. Squares: (0.25 + 4) / 2 to 0, (0.25 + 1) / 2 to 1.

    Cross-entropy of score d: log(1 + e^d) to 0, log(1 + e^-d) to 1.
    """
    scores = torch.tensor([0.5, 2.0]).view(1, 1, 1, 2)
    assert domain_loss(scores, 0).item() == pytest.approx(2.125)
    assert domain_loss(scores, 1).item() == pytest.approx(0.625)
    for domain, sign in ((0, 1), (1, -1)):
        wanted = sum(math.log(1 + math.exp(sign * d)) for d in (0.5, 2.0)) / 2
        found = domain_loss(scores, domain, kind="cross_entropy")
        assert found.item() == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["squares", "cross_entropy"])
def test_domain_loss_grad(kind: Adversary) -> None:
    """gradcheck in float64."""
    scores = torch.randn(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: domain_loss(d, 1, kind=kind), (scores,))


def test_domain_loss_errors() -> None:
    """Another kind."""
    with pytest.raises(ValueError, match="kind has to be \"squares\" or .* not 'hinge'"):
        domain_loss(torch.zeros(1), 0, kind="hinge")  # type: ignore[arg-type]
