"""Mixers and selectors on any probabilities, labels and sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from uda.selftraining import (
    ClassBalancedThreshold,
    ClassMix,
    ConfidenceShare,
    ConfidenceThreshold,
    CutMix,
)
from uda.selftraining.selectors import Selector
from uda.structures import Labelled, PseudoLabel, Unlabelled

from .bounded import bounded

CLASSES = 4
SIZES = st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7))
SEEDS = st.integers(0, 2**31)
MIXERS: dict[str, Callable[[], nn.Module]] = {
    "class_batch": lambda: ClassMix(num_classes=CLASSES, candidates="batch"),
    "class_image": lambda: ClassMix(num_classes=CLASSES, candidates="image"),
    "cut": CutMix,
    "cut_whole": lambda: CutMix(share=(1.0, 1.0), aspect=(1.0, 1.0)),
    "cut_thin": lambda: CutMix(share=(1e-6, 1.0), aspect=(1e-6, 1e6)),
}
SELECTORS: dict[str, Callable[[], Selector]] = {
    "share_batch": lambda: ConfidenceShare(threshold=0.6, scope="batch"),
    "share_image": lambda: ConfidenceShare(threshold=0.6, scope="image", ignore_rows=(1, 0)),
    "threshold": lambda: ConfidenceThreshold(threshold=0.6),
    "balanced": lambda: ClassBalancedThreshold(num_classes=CLASSES, momentum=0.5, ramp=3),
    "balanced_all": lambda: ClassBalancedThreshold(num_classes=CLASSES, share=1.0, maximum=1.0),
}


def probabilities(seed: int, size: tuple[int, int, int], kind: str) -> Tensor:
    """Random, one-hot or uniform probabilities (N, K, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    count, height, width = size
    logits = 4 * torch.randn(count, CLASSES, height, width, generator=generator)
    if kind == "uniform":
        return torch.full_like(logits, 1 / CLASSES)
    if kind == "one_hot":
        return nn.functional.one_hot(logits.argmax(1), CLASSES).permute(0, 3, 1, 2).float()
    return logits.softmax(1)


def some(seed: int, size: tuple[int, int, int], share: float) -> Tensor:
    """A random mask (N, H, W)."""
    return torch.rand(size, generator=torch.Generator().manual_seed(seed + 1)) < share


@pytest.mark.parametrize("name", MIXERS)
@bounded(40)
@given(seed=SEEDS, size=SIZES, ignored=st.sampled_from([0.0, 0.3, 1.0]))
def test_mixers_properties(
    name: str, seed: int, size: tuple[int, int, int], ignored: float
) -> None:
    """Each pixel whole from one place of one side; weights in [0, 1]; inputs left alone."""
    generator = torch.Generator().manual_seed(seed)
    count, height, width = size
    label = torch.randint(CLASSES, size, generator=generator)
    label[some(seed, size, ignored)] = 255
    # The value of a pixel is its own place: what lands elsewhere shows.
    place = torch.arange(count * height * width, dtype=torch.float64).view(size)
    images = [(place + shift).unsqueeze(1).expand(-1, 3, -1, -1) for shift in (0.0, 0.5)]
    pseudo = PseudoLabel(
        torch.randint(CLASSES, size, generator=generator),
        torch.rand(size, generator=generator),
        torch.rand(size, generator=generator),
    )
    pseudo.label[some(seed + 7, size, ignored)] = 255
    before = copy.deepcopy((label, pseudo))
    torch.manual_seed(seed)
    mixed = MIXERS[name]()(Labelled(images[0], label), Unlabelled(images[1]), pseudo)

    assert mixed.image.shape == (count, 3, height, width)
    pasted = mixed.mask.squeeze(1)
    assert torch.equal(mixed.image, (place + 0.5 * ~pasted).unsqueeze(1).expand(-1, 3, -1, -1))
    assert torch.equal(mixed.label, torch.where(pasted, label, pseudo.label))
    assert torch.equal(mixed.weight, torch.where(pasted, 1.0, pseudo.weight))
    assert 0 <= mixed.weight.min() <= mixed.weight.max() <= 1
    if name == "class_image":
        assert not (pasted & (label == 255)).any()
        for i in range(count):
            assert pasted[i].any() == (label[i] != 255).any()
    assert torch.equal(label, before[0])
    assert all(
        torch.equal(a, b)
        for a, b in zip(*[vars(p).values() for p in (pseudo, before[1])], strict=True)
    )


@pytest.mark.parametrize("name", SELECTORS)
@bounded(40)
@given(
    seed=SEEDS,
    size=SIZES,
    kind=st.sampled_from(["random", "one_hot", "uniform"]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_selectors_properties(
    name: str,
    seed: int,
    size: tuple[int, int, int],
    kind: str,
    share: float,
    dtype: torch.dtype,
) -> None:
    """Weights finite and in [0, 1]; nothing untrusted or rejected weighs; labels are the argmax."""
    selector = SELECTORS[name]()
    for step in range(3):
        probs = probabilities(seed + step, size, kind).to(dtype)
        valid = some(seed + step, size, share)
        pseudo = selector(probs, valid)
        assert torch.isfinite(pseudo.weight).all()
        assert 0 <= pseudo.weight.min() <= pseudo.weight.max() <= 1
        assert (pseudo.weight[~valid] == 0).all()
        assert (pseudo.weight[:, : selector.ignore_rows[0]] == 0).all()
        assert (pseudo.weight[pseudo.label == 255] == 0).all()
        kept = pseudo.label != 255
        assert torch.equal(pseudo.label[kept], probs.argmax(1)[kept])
        assert torch.equal(pseudo.confidence, probs.amax(1))
        for buffer in selector.buffers():
            assert torch.isfinite(buffer).all()


@pytest.mark.parametrize("name", SELECTORS)
@bounded(30)
@given(seed=SEEDS, size=SIZES, order=st.randoms(use_true_random=False))
def test_selectors_of_another_order_properties(
    name: str, seed: int, size: tuple[int, int, int], order: Random
) -> None:
    """Images in another order: the same labels, weights and state, in that order.

    All four rules take their statistics of one image, or of all together.
    """
    plain, mixed = SELECTORS[name](), SELECTORS[name]()
    for step in range(3):
        probs, valid = probabilities(seed + step, size, "random"), some(seed + step, size, 0.7)
        permutation = list(range(size[0]))
        order.shuffle(permutation)
        first, second = plain(probs, valid), mixed(probs[permutation], valid[permutation])
        assert torch.equal(first.label[permutation], second.label)
        assert torch.equal(first.weight[permutation], second.weight)
    for one, other in zip(plain.buffers(), mixed.buffers(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", SELECTORS)
@bounded(30)
@given(seed=SEEDS, size=SIZES, saved=st.integers(0, 4))
def test_selectors_state_properties(
    name: str, seed: int, size: tuple[int, int, int], saved: int
) -> None:
    """Saved after any number of batches and loaded by a new one: the same from there on."""
    straight, resumed = SELECTORS[name](), SELECTORS[name]()
    for step in range(5):
        if step == saved:
            resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
        probs = probabilities(seed + step, size, "random")
        first = straight(probs)
        if step >= saved:
            second = resumed(probs)
            assert torch.equal(first.label, second.label)
            assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize("scope", ["batch", "image"])
def test_share_of_many_pixels_in_half_precision_values(scope: str) -> None:
    """Half of 90,000 pixels are confident; float16 counts to 65,504 only."""
    probs = torch.zeros(1, 2, 300, 300, dtype=torch.float16)
    probs[:, 0] = 1
    probs[:, :, 150:] = 0.5
    weight = ConfidenceShare(threshold=0.9, scope=scope)(probs).weight  # type: ignore[arg-type]
    assert weight.unique().tolist() == [0.5]
    probs[:, :, 150:] = probs[:, :, :150]
    weight = ConfidenceShare(threshold=0.9, scope=scope)(probs).weight  # type: ignore[arg-type]
    assert weight.unique().tolist() == [1.0]
