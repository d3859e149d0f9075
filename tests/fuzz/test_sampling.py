"""Draws: the same whatever splits them, and rare classes as often as the formula says."""

from __future__ import annotations

import math
import random
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.utils.data import DataLoader, get_worker_info

from uda.data.pairs import SourceTargetPairs
from uda.data.rare_class_sampling import (
    RareClassSampling,
    class_frequencies,
    class_probabilities,
)
from uda.data.sampler import DrawSampler
from uda.data.statistics import ClassStatistics

from .bounded import bounded

NAMES = ["road", "sky", "pole"]
COUNTS = np.array([[90, 6, 4], [80, 20, 0], [70, 20, 10], [99, 1, 0]])


class Crop:
    """A part of the label with a random number of pixels of each class."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """A new crop, from the global generators as mmseg's transforms draw."""
        pixels = np.random.randint(0, 3, (4, 4))
        return {**results, "gt_seg_map": pixels, "noise": random.random() + torch.rand(1).item()}


class Pipeline:
    """Transforms, as mmengine's `Compose` holds them."""

    transforms = (Crop(),)


class Images:
    """A data set without files, whose items draw from all three generators."""

    metainfo = {"classes": NAMES}
    pipeline = Pipeline()

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def get_data_info(self, index: int) -> dict[str, Any]:
        """The image's number in place of its path."""
        return {"image": index}

    def __getitem__(self, index: int) -> dict[str, Any]:
        return Crop()(self.get_data_info(index))


class RarePairs(SourceTargetPairs):
    """With the statistics of four images in memory."""

    def full_init(self) -> None:
        """The table alone; there are no files."""
        if self.sampling is not None:
            statistics = ClassStatistics(files=[*"abcd"], counts=COUNTS)
            self.table = self.sampling.table(statistics, NAMES)


def pairs_of(source: int, target: int, *, rare: bool) -> SourceTargetPairs:
    """Pairs of `source` and `target` images."""
    sampling = RareClassSampling(min_pixels=3, temperature=0.3) if rare else None
    return RarePairs(
        source=Images(4 if rare else source),
        target=Images(target) if target else None,
        sampling=sampling,
    )


def told(item: dict[str, Any]) -> str:
    """Everything in an item, in words."""
    return repr({side: {k: str(v) for k, v in part.items()} for side, part in item.items()})


def noise(seed: int) -> None:
    """Leave the global generators somewhere."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


SPLITS = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 4))


@bounded(25)
@given(
    seed=st.integers(0, 2**40),
    lengths=st.tuples(st.integers(1, 6), st.integers(0, 6)),
    rare=st.booleans(),
    split=SPLITS,
    order=st.randoms(use_true_random=False),
)
def test_any_split_gives_the_same_items_properties(
    seed: int,
    lengths: tuple[int, int],
    rare: bool,
    split: tuple[int, int, int],
    order: random.Random,
) -> None:
    """Processes, resumed position and order of the work change no item, nor do items each other."""
    world, batch, done = split
    straight = pairs_of(*lengths, rare=rare)
    total = world * batch * (done + 2)
    wanted = {(seed, draw): told(straight[(seed, draw)]) for draw in range(total)}
    found = []
    for rank in range(world):
        sampler = DrawSampler(range(3), seed=seed, rank=rank, world_size=world)
        before = list(islice(sampler, done * batch))
        sampler.skip(done * batch)
        found += [*before, *islice(sampler, 2 * batch)]
    assert sorted(found) == sorted(wanted)
    order.shuffle(found)
    again = pairs_of(*lengths, rare=rare)
    for index in found:
        noise(order.getrandbits(40))
        assert told(again[index]) == wanted[index]


class Listed(torch.utils.data.Dataset[str]):
    """Items of pairs as text, with the worker that made them."""

    def __init__(self, pairs: SourceTargetPairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: Any) -> tuple[str, int]:
        worker = get_worker_info()
        return told(self.pairs[index]), -1 if worker is None else worker.id


@pytest.mark.parametrize("rare", [False, True])
def test_real_workers_values(rare: bool) -> None:
    """Zero, one and two loader processes, from the start and from the middle."""
    found = []
    for workers, skipped in ((0, 0), (1, 0), (2, 0), (0, 4), (2, 4)):
        pairs = pairs_of(5, 3, rare=rare)
        sampler = DrawSampler(pairs, seed=11, start=skipped)
        loader = DataLoader(
            Listed(pairs),
            batch_size=2,
            sampler=sampler,
            num_workers=workers,
            collate_fn=list,
            multiprocessing_context="fork" if workers else None,
        )
        items = [item for part in islice(loader, 6 - skipped // 2) for item in part]
        assert len({worker for _, worker in items}) == max(workers, 1)
        found.append([text for text, _ in items])
    assert found[0] == found[1] == found[2]
    assert found[3] == found[4] == found[0][4:]


@bounded(150)
@given(
    counts=arrays(
        np.int64,
        st.tuples(st.integers(1, 4), st.integers(1, 8)),
        elements=st.integers(0, 2**40) | st.sampled_from([0, 1]),
    ),
    temperature=st.floats(1e-4, 1e4) | st.sampled_from([1e-300, math.inf]),
)
def test_probabilities_properties(counts: Any, temperature: float) -> None:
    """They sum to 1, and are the softmax of (1 - f) / T over the classes that occur."""
    assume(counts.sum() > 0)
    frequencies = class_frequencies(counts)
    found = class_probabilities(frequencies, temperature)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert math.isclose(math.fsum(found), 1, abs_tol=1e-12)
    pixels = [int(n) for n in counts.sum(axis=0)]
    shares = [n / sum(pixels) for n in pixels]
    rarest = min(share for share, n in zip(shares, pixels, strict=True) if n)
    weights = [
        math.exp(-(share - rarest) / temperature) if n else 0.0
        for share, n in zip(shares, pixels, strict=True)
    ]
    wanted = [weight / math.fsum(weights) for weight in weights]
    # The exponents reach 1 / T, so that rounding of shares counts that much.
    tolerance = 1e-9 if temperature < 1e-3 else 1e-12
    if temperature > 1e-5:
        assert np.allclose(found, wanted, rtol=1e-9, atol=tolerance)


@bounded(60)
@given(
    counts=arrays(np.int64, (5, 4), elements=st.integers(0, 500)),
    min_pixels=st.integers(0, 300),
    chosen=st.none() | st.sets(st.integers(0, 3), min_size=1),
    seed=st.integers(0, 2**32 - 1),
)
def test_table_properties(counts: Any, min_pixels: int, chosen: set[int] | None, seed: int) -> None:
    """A draw gives a class asked for in an image with enough of it; else one sentence says why."""
    assume(counts.sum() > 0)
    sampling = RareClassSampling(
        min_pixels=min_pixels, classes=None if chosen is None else sorted(chosen), temperature=0.5
    )
    statistics = ClassStatistics(files=[*"abcde"], counts=counts)
    wanted = set(np.flatnonzero(counts.sum(axis=0))) if chosen is None else chosen
    try:
        table = sampling.table(statistics, [*"abcd"])
    except ValueError as error:
        assert str(error).startswith("rare class sampling: ")  # noqa: PT017
        assert any(counts[:, k].max() <= min_pixels for k in wanted)  # noqa: PT017
        return
    assert set(table.classes.tolist()) == wanted
    assert math.isclose(math.fsum(table.probabilities), 1, abs_tol=1e-12)
    drawn = [table.draw(np.random.RandomState(seed)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    class_id, image = drawn[0]
    assert class_id in wanted
    assert counts[image, class_id] > min_pixels


def test_draws_follow_the_formula_values() -> None:
    """4,000 draws of three classes: each count within five standard deviations of n p."""
    statistics = ClassStatistics(files=[*"abcd"], counts=COUNTS)
    table = RareClassSampling(min_pixels=3, temperature=0.5).table(statistics, NAMES)
    generator = np.random.RandomState(0)
    drawn = [table.draw(generator) for _ in range(4000)]
    for class_id, probability in zip(table.classes, table.probabilities, strict=True):
        count = sum(found == class_id for found, _ in drawn)
        assert abs(count - 4000 * probability) < 5 * math.sqrt(
            4000 * probability * (1 - probability)
        )
        images = [image for found, image in drawn if found == class_id]
        qualified = np.flatnonzero(COUNTS[:, class_id] > 3)
        for image in qualified:
            share = images.count(int(image)) / count
            spread = math.sqrt(1 / len(qualified) * (1 - 1 / len(qualified)) / count)
            assert abs(share - 1 / len(qualified)) <= 5 * spread
        assert set(images) == set(qualified.tolist())
