"""Draws depend on their numbers alone and leave the surrounding generators as they were."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uda.data.seeding import epoch_index, seeded


def numbers() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_seeded_repeats_and_separates() -> None:
    seen = set()
    for key in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)]:
        with seeded(*key):
            first = numbers()
        with seeded(*key):
            assert numbers() == first
        seen.update(first)
    assert len(seen) == 12


def test_seeded_restores_the_states_even_after_an_error() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = numbers()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    with pytest.raises(ZeroDivisionError), seeded(0, 0):
        np.random.rand() / len(str(numbers())[:0])
    assert numbers() == expected


@given(
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 50),
    length=st.integers(1, 40),
    stream=st.integers(0, 1),
)
def test_epoch_index_properties(seed: int, epoch: int, length: int, stream: int) -> None:
    draws = range(epoch * length, (epoch + 1) * length)
    found = [epoch_index(seed, draw, length, stream) for draw in draws]
    assert sorted(found) == list(range(length))


def test_epoch_index_differs_between_epochs_and_streams() -> None:
    starts = [(epoch * 20, stream) for epoch in (0, 1) for stream in (0, 1)]
    walks = {tuple(epoch_index(0, d, 20, s) for d in range(e, e + 20)) for e, s in starts}
    assert len(walks) == 4
