"""Two teachers and their disagreement."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from uda.selftraining import ConfidenceThreshold, EMATeacher, TeacherDivergence, TeacherPair
from uda.selftraining.selectors.teacher_divergence import symmetric_divergence


def test_divergence_values() -> None:
    """(0.75, 0.25) and (0.25, 0.75): each KL is 0.5 log 3. One-hot and opposite: large, finite."""
    one = torch.tensor([0.75, 0.25]).view(1, 2, 1)
    assert symmetric_divergence(one, one.flip(1)).item() == pytest.approx(0.5 * math.log(3))
    hot = torch.tensor([1.0, 0.0]).view(1, 2, 1)
    assert symmetric_divergence(hot, hot.flip(1)).isfinite().all()
    assert symmetric_divergence(hot, hot).item() == 0


def test_teacher_divergence_values() -> None:
    """Agreement weighs 1. At divergence d = log(3) / 2 and strength 2: 2 (1 - 3/4) = 1/2.

    sigmoid(log 3) = 3/4. By image: d is half of that, and sigmoid(log(3) / 2) = 0.633975.
    """
    first = torch.tensor([0.75, 0.6])
    second = torch.tensor([0.25, 0.6])
    probs = torch.stack([torch.stack([p, 1 - p]).view(1, 2, 1, 2) for p in (first, second)])
    pixel = TeacherDivergence(strength=2.0)(probs)
    assert pixel.weight.flatten().tolist() == pytest.approx([0.5, 1])
    assert pixel.label.flatten().tolist()[1] == 0
    image = TeacherDivergence(strength=2.0, scope="image")(probs)
    assert image.weight.flatten().tolist() == pytest.approx([2 * (1 - 0.633975)] * 2, rel=1e-5)
    only = torch.tensor([[[False, True]]])
    alone = TeacherDivergence(strength=2.0, scope="image")(probs, only)
    assert alone.weight.flatten().tolist() == [0, 1]


@settings(deadline=None)
@given(seed=st.integers(0, 100), strength=st.floats(0, 5))
def test_teacher_divergence_properties(seed: int, strength: float) -> None:
    """Weights lie in [0, 1] and do not depend on which teacher is which; more strength, less."""
    generator = torch.Generator().manual_seed(seed)
    probs = (2 * torch.randn(2, 2, 3, 4, 5, generator=generator)).softmax(2)
    weight = TeacherDivergence(strength=strength)(probs).weight
    assert weight.min() >= 0
    assert weight.max() <= 1
    torch.testing.assert_close(TeacherDivergence(strength=strength)(probs.flip(0)).weight, weight)
    assert (TeacherDivergence(strength=strength + 1)(probs).weight <= weight).all()


def test_teacher_pair_values() -> None:
    """Decays 0.5 and 0.75: from 2 towards 0 the slow one keeps 1.5, the fast one 1."""
    student = nn.Conv2d(1, 2, 1, bias=False)
    nn.init.constant_(student.weight, 2.0)
    pair = TeacherPair(student, decays=(0.75, 0.5), warmup=False)
    pair.update(student)
    nn.init.zeros_(student.weight)
    pair.update(student)
    assert pair.network.weight.flatten().tolist() == [1.5, 1.5]
    assert pair.fast.network.weight.flatten().tolist() == [1, 1]
    assert pair.predict(torch.ones(3, 1, 4, 4)).shape == (2, 3, 2, 4, 4)
    pair.copy_from(student)
    assert pair.fast.network.weight.abs().max() == 0
    again = TeacherPair(student, decays=(0.75, 0.5))
    again.load_state_dict(pair.state_dict())
    assert (again.updates, again.fast.updates) == (2, 2)
    pair.eval()
    assert not pair.fast.training


def test_mean_of_several_teachers_values() -> None:
    """A selector for one teacher takes the mean of two: (0.9 + 0.5) / 2 = 0.7."""
    probs = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).view(2, 1, 2, 1, 1)
    assert ConfidenceThreshold(threshold=0.6)(probs).confidence.item() == pytest.approx(0.7)


def test_teacher_divergence_errors() -> None:
    """One teacher, unknown scope, negative strength, equal decays."""
    with pytest.raises(ValueError, match=r"needs probabilities \(2, N, K, H, W\) of two teachers"):
        TeacherDivergence()(torch.full((1, 2, 1, 1), 0.5))
    with pytest.raises(ValueError, match='scope has to be "image" or "pixel", not \'batch\''):
        TeacherDivergence(scope="batch")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"strength has to be at least 0, not -1"):
        TeacherDivergence(strength=-1)
    with pytest.raises(ValueError, match="two teachers with the same decay are one; give two"):
        TeacherPair(nn.Conv2d(1, 2, 1), decays=(0.9, 0.9))
    assert isinstance(TeacherPair(nn.Conv2d(1, 2, 1)), EMATeacher)
