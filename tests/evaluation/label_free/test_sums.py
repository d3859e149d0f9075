"""Sums of predictions: hand values, exactness over images and processes, memory, draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.evaluation.label_free import PredictionSums, prediction_sums
from uda.evaluation.label_free.exact_sum import as_counts, from_counts
from uda.evaluation.label_free.neighbourhood import sampled_pixels
from uda.evaluation.label_free.sums import _PIXELS_AT_ONCE, means


def drawn(seed: int, classes: int = 4, shape: tuple[int, int] = (6, 7)) -> Tensor:
    """Logits of an image."""
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(classes, *shape, generator=generator)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.randoms())
def test_as_counts_properties(numbers: list[float], random: object) -> None:
    """Sums of shuffled numbers have the same bits, and are the true sum."""
    counts = as_counts(torch.tensor(numbers, dtype=torch.float64))
    order = list(range(len(numbers)))
    random.shuffle(order)
    assert torch.equal(counts.sum(0), counts[order].sum(0))
    wanted = math.fsum(numbers)
    assert float(from_counts(counts.sum(0))) == pytest.approx(wanted, abs=1e-9, rel=1e-12)


def test_as_counts_values() -> None:
    """-0.25 is -1 and three quarters; a number above 4096 loses nothing."""
    assert as_counts(torch.tensor(-0.25)).tolist() == [-1, 3 * 2**38]
    number = 123456.789
    assert float(from_counts(as_counts(torch.tensor(number, dtype=torch.float64)))) == number


def test_prediction_sums_values() -> None:
    """Two pixels, (1/4, 3/4) and (1, 0).

    Entropies log 4 - 3/4 log 3 and 0; probabilities 5/4 and 3/4; products of the first
    ((1/16, 3/16), (3/16, 9/16)), of the second ((1, 0), (0, 0)). Each has one neighbour: density 0.
    """
    logits = torch.tensor([[[0.0, 500.0]], [[math.log(3), -500.0]]])
    sums = prediction_sums(logits, 0)
    assert [int(part) for part in sums[:3]] == [1, 0, 2]
    assert float(from_counts(sums.entropy)) == pytest.approx(math.log(4) - 0.75 * math.log(3))
    assert float(from_counts(sums.density)) == 0
    assert from_counts(sums.probs).tolist() == pytest.approx([1.25, 0.75])
    found = from_counts(sums.products).flatten().tolist()
    assert found == pytest.approx([17 / 16, 3 / 16, 3 / 16, 9 / 16])


def test_prediction_sums_in_parts_parity() -> None:
    """An image larger than a part has the sums of one softmax over all its pixels."""
    logits = drawn(0, 3, (300, 500))
    assert logits[0].numel() > 2 * _PIXELS_AT_ONCE
    sums = prediction_sums(logits, 0)
    probs = logits.double().softmax(0).flatten(1)
    torch.testing.assert_close(from_counts(sums.probs), probs.sum(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(from_counts(sums.products), probs @ probs.T, rtol=1e-6, atol=0)
    entropy = -(probs * probs.log()).sum()
    torch.testing.assert_close(from_counts(sums.entropy), entropy, rtol=1e-6, atol=0)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.randoms())
def test_prediction_sums_merge_properties(images: int, random: object) -> None:
    """Any order and any splitting of images over processes gives the same bits."""
    each = [prediction_sums(drawn(seed), seed) for seed in range(images)]

    def total(order: list[int]) -> PredictionSums:
        held = PredictionSums.zero(4)
        for index in order:
            held = held.plus(each[index])
        return held

    order = list(range(images))
    alone = total(order)
    random.shuffle(order)
    cut = random.randint(0, images)
    parts = (total(order[:cut]).flat(), total(order[cut:]).flat())
    merged = PredictionSums.from_flat(parts[0] + parts[1], 4)
    assert all(torch.equal(a, b) for a, b in zip(alone, merged, strict=True))


def test_prediction_sums_properties() -> None:
    """The same classes in another order have the same sums in that order; so have pixels."""
    logits = drawn(1)
    sums = means(prediction_sums(logits, 0))
    order = [2, 0, 3, 1]
    turned = means(prediction_sums(logits[order], 0))
    torch.testing.assert_close(turned.entropy, sums.entropy)
    torch.testing.assert_close(turned.density, sums.density)
    torch.testing.assert_close(turned.probs, sums.probs[order])
    torch.testing.assert_close(turned.products, sums.products[order][:, order])
    mixed = means(prediction_sums(logits.flip(1, 2), 0))  # all pixels are sampled here
    for one, other in zip(mixed[2:], sums[2:], strict=True):
        torch.testing.assert_close(one, other)


def test_prediction_sums_that_are_no_numbers() -> None:
    """A broken image is counted and nothing else; the means of all are NaN then."""
    logits = drawn(0)
    logits[0, 2, 3] = math.nan
    broken = prediction_sums(logits, 0)
    assert [int(part) for part in broken[:3]] == [1, 1, 0]
    assert all(int(part.abs().max()) == 0 for part in broken[3:])
    found = means(broken.plus(prediction_sums(drawn(1), 1)))
    assert found.images == 1
    assert math.isnan(float(found.entropy))
    assert found.products.isnan().all()
    assert math.isnan(float(means(PredictionSums.zero(4)).density))


def test_sampled_pixels_values() -> None:
    """By the image's number alone, without repetition, and no global generator moves."""
    torch.manual_seed(0)
    np.random.seed(0)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = sampled_pixels(10_000, 50, 3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(first, sampled_pixels(10_000, 50, 3))
    assert not torch.equal(first, sampled_pixels(10_000, 50, 4))
    assert len(set(first.tolist())) == 50
    assert first.tolist() == sorted(first.tolist())
    assert 0 <= int(first.min()) <= int(first.max()) < 10_000
    chosen = torch.cat([sampled_pixels(100, 10, number) for number in range(1000)])
    counts = torch.bincount(chosen, minlength=100)
    assert 60 < int(counts.min()) <= int(counts.max()) < 145  # 100 each on average


def test_prediction_sums_of_sampled_pixels() -> None:
    """The density is that of the sampled pixels, and another image number may change it alone."""
    logits = drawn(2, shape=(40, 50))
    one, again, other = (prediction_sums(logits, n, pixels=20) for n in (0, 0, 1))
    assert torch.equal(one.density, again.density)
    assert not torch.equal(one.density, other.density)
    assert torch.equal(one.products, other.products)
