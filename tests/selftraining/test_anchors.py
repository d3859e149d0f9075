"""Anchors: how many of each group, half of them hard, none of them ignored."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.fuzz.bounded import bounded
from uda.selftraining.anchors import choose_anchors


def labels(*groups: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """One image with `right` and `wrong` pixels of each (class, right, wrong)."""
    label, predicted = [], []
    for k, right, wrong in groups:
        label += [k] * (right + wrong)
        predicted += [k] * right + [k + 1] * wrong
    return torch.tensor([label]), torch.tensor([predicted])


def counts(label: Tensor, predicted: Tensor, k: int, **settings: int) -> tuple[int, int]:
    """How many right and wrong pixels of a class are chosen."""
    torch.manual_seed(0)
    index, chosen = choose_anchors(label, predicted, num_classes=3, **settings)
    index = index[chosen]
    of_class = index[label.flatten()[index] == k]
    right = predicted.flatten()[of_class] == k
    return int(right.sum()), int((~right).sum())


def test_anchors_values() -> None:
    """Two groups, at most 20 together and 8 each: v = 8, half hard, half easy.

    With 3 hard ones there are 5 easy ones, with 2 easy ones 6 hard ones. v = min(14 // 2, 8) = 7
    gives 3 hard and 4 easy. A class with 10 pixels takes no part where more than 10 are asked.
    """
    few = {"most": 20, "per_class": 8, "min_pixels": 10}
    assert counts(*labels((0, 30, 30), (1, 30, 30)), 0, **few) == (4, 4)
    assert counts(*labels((0, 30, 3), (1, 30, 30)), 0, **few) == (5, 3)
    assert counts(*labels((0, 2, 30), (1, 30, 30)), 0, **few) == (2, 6)
    few["most"] = 14
    assert counts(*labels((0, 30, 30), (1, 30, 30)), 1, **few) == (4, 3)
    assert counts(*labels((0, 5, 5), (1, 30, 30)), 0, **few) == (0, 0)
    assert counts(*labels((0, 5, 6), (1, 30, 30)), 0, **few) == (4, 3)


def test_groups_are_of_an_image_values() -> None:
    """A class in two images makes two groups: 7 pixels of either, of 14 in all."""
    label = torch.zeros(2, 40, dtype=torch.int64)
    torch.manual_seed(0)
    index, chosen = choose_anchors(
        label, label, num_classes=2, most=14, per_class=100, min_pixels=10
    )
    assert chosen.all()
    assert (index < 40).sum() == 7


@bounded(60)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 40)),
    ignored=st.sampled_from([0.0, 0.4, 1.0]),
    most=st.integers(2, 50),
    per_class=st.integers(2, 12),
    min_pixels=st.integers(0, 8),
)
def test_anchors_properties(
    seed: int, shape: tuple[int, int], ignored: float, most: int, per_class: int, min_pixels: int
) -> None:
    """Never an ignored pixel, none twice, as many of each group, at most the bounds."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(3, shape, generator=generator)
    label[torch.rand(shape, generator=generator) < ignored] = 255
    predicted = torch.randint(3, shape, generator=generator)
    torch.manual_seed(seed)
    index, chosen = choose_anchors(
        label, predicted, num_classes=3, most=most, per_class=per_class, min_pixels=min_pixels
    )
    assert len(index) == len(chosen) == min(most, label.numel())
    assert len(index.unique()) == len(index)
    kept = index[chosen]
    assert (label.flatten()[kept] != 255).all()
    group = kept // shape[1] * 3 + label.flatten()[kept]
    numbers = torch.stack([(label[i] == k).sum() for i in range(shape[0]) for k in range(3)])
    part = numbers > min_pixels
    view = min(max(most // max(int(part.sum()), 1), 1), per_class)
    found = torch.bincount(group, minlength=len(part))
    assert (found[~part] == 0).all()
    wanted = torch.where(part, numbers.clamp(max=view), 0)
    assert (found <= wanted).all()
    # Of more groups than anchors the last ones go without.
    if int(wanted.sum()) <= most:
        assert torch.equal(found, wanted)


def test_anchors_are_drawn() -> None:
    """Other draws choose others; the same draws the same."""
    label, predicted = labels((0, 60, 60))
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        found.append(choose_anchors(label, predicted, num_classes=1, most=10)[0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
