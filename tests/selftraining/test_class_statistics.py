"""Mean and variance of each class, a memory of means: by hand, in one or many batches, saved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.bounded import bounded
from uda.selftraining.class_statistics import ClassBank, ClassStatistics


def test_statistics_values() -> None:
    """Class 0: 1 and 3, then 8; class 1 never; an ignored pixel and one of no class count nowhere.

    Means 2 and 4; variances 1 and ((1 - 4)^2 + (3 - 4)^2 + (8 - 4)^2) / 3 = 26 / 3.
    """
    made = ClassStatistics(num_classes=2, size=1)
    means, present = made.update(
        torch.tensor([[1.0], [100.0], [3.0], [50.0]]), torch.tensor([0, 255, 0, 2])
    )
    assert means.tolist() == [[2], [0]]
    assert present.tolist() == [True, False]
    made.update(torch.tensor([[8.0]]), torch.tensor([0]))
    assert made.means[:, 0].tolist() == pytest.approx([4, 0])
    assert made.variances[:, 0].tolist() == pytest.approx([26 / 3, 0])
    assert made.amount.tolist() == [3, 0]
    assert made.seen.tolist() == [True, False]


@bounded(40)
@given(seed=st.integers(0, 2**31), parts=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_statistics_properties(seed: int, parts: list[int]) -> None:
    """In parts of any sizes, empty ones too, it is the mean and variance of all pixels in one."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(sum(parts), 3, generator=generator)
    label = torch.randint(3, (sum(parts),), generator=generator)
    label[::4] = 255
    made = ClassStatistics(num_classes=3, size=3)
    for some, ids in zip(features.split(parts), label.split(parts), strict=True):
        made.update(some, ids)
    for k in range(3):
        own = features[label == k]
        assert made.amount[k] == len(own)
        if len(own):
            torch.testing.assert_close(made.means[k], own.mean(0), atol=1e-5, rtol=1e-5)
            wanted = own.var(0, correction=0)
            torch.testing.assert_close(made.variances[k], wanted, atol=1e-5, rtol=1e-5)
    assert (made.variances >= 0).all()


def test_bank_values() -> None:
    """Newest first, the oldest of three goes; a class that is absent keeps what it has."""
    made = ClassBank(num_classes=2, size=1, length=2)
    for value, present in ((1.0, [True, True]), (2.0, [True, False]), (3.0, [True, False])):
        made.add(torch.full((2, 1), value), torch.tensor(present))
    assert made.entries[:, :, 0].tolist() == [[3, 2], [1, 0]]
    assert made.filled.tolist() == [[True, True], [True, False]]


def test_bank_start_values() -> None:
    """With `start` each class has a mean of 0, which is pushed out like any other."""
    made = ClassBank(num_classes=1, size=1, length=2, start=True)
    assert made.filled.tolist() == [[True, False]]
    for value, wanted in ((1.0, [1, 0]), (2.0, [2, 1])):
        made.add(torch.full((1, 1), value), torch.tensor([True]))
        assert made.entries[0, :, 0].tolist() == wanted
        assert made.filled.all()


def test_bank_errors() -> None:
    with pytest.raises(ValueError, match="A bank holds at least 1 mean a class, not 0"):
        ClassBank(num_classes=2, size=1, length=0)


def test_statistics_resume() -> None:
    """What is saved and loaded goes on to the bit."""
    straight, resumed = (ClassStatistics(num_classes=2, size=2) for _ in range(2))
    banks = [ClassBank(num_classes=2, size=2, length=3) for _ in range(2)]
    generator = torch.Generator().manual_seed(0)
    for step in range(4):
        features = torch.randn(5, 2, generator=generator)
        label = torch.randint(2, (5,), generator=generator)
        if step == 2:
            resumed.load_state_dict(straight.state_dict())
            banks[1].load_state_dict(banks[0].state_dict())
        for statistics, bank in zip((straight, resumed)[: 1 + (step >= 2)], banks, strict=False):
            bank.add(*statistics.update(features, label))
    for one, two in zip(
        (*straight.buffers(), *banks[0].buffers()),
        (*resumed.buffers(), *banks[1].buffers()),
        strict=True,
    ):
        assert torch.equal(one, two)
