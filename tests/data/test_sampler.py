"""`DrawSampler`: endless draw numbers, split over processes."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uda.data.sampler import DrawSampler


@given(world=st.integers(1, 5), batch=st.integers(1, 4), skipped=st.integers(0, 9))
def test_processes_share_the_draws_of_one(world: int, batch: int, skipped: int) -> None:
    draws = set()
    for rank in range(world):
        sampler = DrawSampler(range(3), seed=5, rank=rank, world_size=world)
        sampler.skip(skipped * batch)
        draws.update(islice(sampler, batch))
    first = skipped * batch * world
    assert draws == {(5, first + index) for index in range(batch * world)}


def test_skip_is_absolute_and_length_is_the_data_sets() -> None:
    sampler = DrawSampler(range(3), seed=0, start=4)
    assert list(islice(sampler, 2)) == [(0, 4), (0, 5)]
    sampler.skip(1)
    sampler.set_epoch(3)
    assert list(islice(sampler, 2)) == [(0, 1), (0, 2)]
    assert len(sampler) == 3


def test_sampler_errors() -> None:
    with pytest.raises(ValueError, match=r"rank must be in 0\.\.1 for world_size=2, got 2"):
        DrawSampler(range(3), seed=0, rank=2, world_size=2)
    with pytest.raises(ValueError, match="cannot skip -1 draws"):
        DrawSampler(range(3), seed=0).skip(-1)
    with pytest.raises(ValueError, match="seed must be at least 0, got -3"):
        DrawSampler(range(3), seed=-3)
