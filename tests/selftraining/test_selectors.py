"""Selectors: weights by hand, ignored rows and pixels, class thresholds against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from uda.selftraining import ClassBalancedThreshold, ConfidenceShare, ConfidenceThreshold
from uda.selftraining.selectors import Selector


def probs_of(confidence: Tensor) -> Tensor:
    """Two-class probabilities (N, 2, H, W) whose class 0 has `confidence` (N, H, W) > 0.5."""
    return torch.stack([confidence, 1 - confidence], 1)


def random_probs(seed: int, classes: int = 3, size: tuple[int, ...] = (2, 4, 5)) -> Tensor:
    """Probabilities (N, K, H, W) of random logits."""
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(size[0], classes, *size[1:], generator=generator)).softmax(1)


def test_confidence_share_values() -> None:
    """Confident pixels: 2 of 4 in the first image, 1 of 4 in the second; 3 of 8 together.

    0.9 itself counts as confident at the threshold 0.9.
    """
    confidence = torch.tensor([[[0.95, 0.9], [0.6, 0.7]], [[0.99, 0.6], [0.6, 0.6]]])
    probs = probs_of(confidence)
    image = ConfidenceShare(threshold=0.9, scope="image")(probs)
    assert image.weight.unique(dim=0).shape == (2, 2, 2)
    assert image.weight[0].unique().tolist() == [0.5]
    assert image.weight[1].unique().tolist() == [0.25]
    batch = ConfidenceShare(threshold=0.9, scope="batch")(probs)
    assert batch.weight.unique().tolist() == [0.375]
    for pseudo in (image, batch):
        assert torch.equal(pseudo.confidence, confidence)
        assert torch.equal(pseudo.label, torch.zeros(2, 2, 2, dtype=torch.int64))


def test_confidence_threshold_values() -> None:
    """Pixels at or above 0.8 keep their label with weight 1; the others are 255 with weight 0."""
    pseudo = ConfidenceThreshold(threshold=0.8)(probs_of(torch.tensor([[[0.9, 0.8, 0.7]]])))
    assert pseudo.label.tolist() == [[[0, 0, 255]]]
    assert pseudo.weight.tolist() == [[[1, 1, 0]]]


SELECTORS = {
    "share": lambda **kwargs: ConfidenceShare(threshold=0.5, scope="batch", **kwargs),
    "threshold": lambda **kwargs: ConfidenceThreshold(threshold=0.0, **kwargs),
    "balanced": lambda **kwargs: ClassBalancedThreshold(num_classes=3, share=1.0, **kwargs),
}


@pytest.mark.parametrize("name", SELECTORS)
def test_ignore_rows_values(name: str) -> None:
    """One row at the top and two at the bottom weigh 0; the rows between are untouched."""
    probs = random_probs(0)
    plain = SELECTORS[name]()(probs)
    pseudo = SELECTORS[name](ignore_rows=(1, 2))(probs)
    assert pseudo.weight[:, [0, 2, 3]].abs().max() == 0
    assert torch.equal(pseudo.weight[:, 1], plain.weight[:, 1])
    assert torch.equal(pseudo.label[:, 1], plain.label[:, 1])


@pytest.mark.parametrize("name", SELECTORS)
def test_ignore_rows_beyond_the_image_values(name: str) -> None:
    """More rows than the image has: everything weighs 0."""
    assert SELECTORS[name](ignore_rows=(0, 9))(random_probs(0)).weight.max() == 0
    assert SELECTORS[name](ignore_rows=(9, 0))(random_probs(0)).weight.max() == 0


@pytest.mark.parametrize("name", SELECTORS)
@settings(deadline=None)
@given(seed=st.integers(0, 100))
def test_valid_properties(name: str, seed: int) -> None:
    """Nothing invalid is kept; valid pixels weigh what they did; weights lie in [0, 1]."""
    probs = random_probs(seed)
    valid = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(seed)) < 0.5
    plain, pseudo = SELECTORS[name]()(probs), SELECTORS[name]()(probs, valid)
    assert pseudo.weight[~valid].abs().sum() == 0
    assert torch.equal(pseudo.weight[valid], plain.weight[valid])
    assert pseudo.weight.min() >= 0
    assert pseudo.weight.max() <= 1
    assert not pseudo.weight.requires_grad


def test_share_of_an_image_counts_its_trusted_pixels_values() -> None:
    """One of two valid pixels is confident; the padding, all confident, does not count."""
    confidence = torch.tensor([[[0.95, 0.6, 0.99, 0.99]]])
    valid = torch.tensor([[[True, True, False, False]]])
    selector = ConfidenceShare(threshold=0.9, scope="image")
    assert selector(probs_of(confidence), valid).weight.tolist() == [[[0.5, 0.5, 0, 0]]]
    assert selector(probs_of(confidence), ~valid.new_ones(valid.shape)).weight.max() == 0


def test_class_thresholds_leave_padding_out_values() -> None:
    """The median of 0.5, 0.75 and 0.875 is 0.75; with the padding it would be 0.5."""
    confidence = torch.tensor([[[0.75, 0.875, 0.5, 0.5, 0.5]]])
    valid = torch.tensor([[[True, True, True, False, False]]])
    selector = ClassBalancedThreshold(num_classes=3, share=0.5)
    selector(probs_of(confidence), valid)
    assert selector.threshold[0].item() == pytest.approx(0.75, abs=2 / selector.bins)


@settings(deadline=None)
@given(seed=st.integers(0, 100), first=st.floats(0, 1), second=st.floats(0, 1))
def test_threshold_properties(seed: int, first: float, second: float) -> None:
    """A higher threshold keeps a subset, and gives no larger share."""
    low, high = sorted((first, second))
    probs = random_probs(seed)
    kept = [ConfidenceThreshold(threshold=t)(probs) for t in (low, high)]
    assert ((kept[1].weight > 0) <= (kept[0].weight > 0)).all()
    for pseudo in kept:
        assert torch.equal(pseudo.label == 255, pseudo.weight == 0)
    for scope in ("batch", "image"):
        shares = [ConfidenceShare(threshold=t, scope=scope)(probs).weight for t in (low, high)]
        assert (shares[1] <= shares[0]).all()


def slow_quantiles(
    label: NDArray[np.int64], confidence: NDArray[np.float32], classes: int, share: float
) -> list[float | None]:
    """For each class the confidence, rounded down to 1/1024, that `share` of its pixels reach."""
    found: list[float | None] = []
    for k in range(classes):
        values = np.sort(confidence[label == k])
        if len(values) == 0:
            found.append(None)
            continue
        # in float32, as the histogram version
        rank = max(int(np.ceil(np.float32(1 - share) * np.float32(len(values)))), 1) - 1
        found.append(min(int(values[rank] * np.float32(1024)), 1023) / 1024)
    return found


@settings(deadline=None)
@given(seed=st.integers(0, 1000), share=st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]))
def test_class_balanced_threshold_parity(seed: int, share: float) -> None:
    """Over three batches the thresholds are those of sorting in NumPy and averaging."""
    classes, momentum, maximum = 4, 0.75, 0.9
    selector = ClassBalancedThreshold(
        num_classes=classes, share=share, momentum=momentum, maximum=maximum
    )
    wanted, seen = [maximum] * classes, [False] * classes
    for step in range(3):
        probs = random_probs(3 * seed + step, classes, (1, 3, 4))
        confidence, label = probs.max(1)
        selector(probs)
        quantiles = slow_quantiles(label.numpy(), confidence.numpy(), classes, share)
        for k, quantile in enumerate(quantiles):
            if quantile is None:
                continue
            moved = momentum * wanted[k] + (1 - momentum) * quantile if seen[k] else quantile
            wanted[k], seen[k] = min(moved, maximum), True
        np.testing.assert_allclose(selector.threshold.numpy(), wanted, rtol=1e-5)
        assert selector.seen.tolist() == seen


def test_class_balanced_threshold_values() -> None:
    """Half of the pixels of each class are kept, though class 1 is never confident.

    Confidences of class 0: 0.6, 0.7, 0.8, 0.9; of class 1: 0.51, 0.52, 0.53, 0.54. The lowest
    value with half of them at or below it is the second; values from it on are kept (3 of 4,
    since the second itself is).
    """
    first = torch.tensor([0.6, 0.7, 0.8, 0.9, 0.49, 0.48, 0.47, 0.46]).view(1, 1, 8)
    selector = ClassBalancedThreshold(num_classes=2, share=0.5, maximum=1.0)
    pseudo = selector(probs_of(first))
    assert pseudo.label.tolist() == [[[255, 0, 0, 0, 255, 1, 1, 1]]]
    assert pseudo.weight.tolist() == [[[0, 1, 1, 1, 0, 1, 1, 1]]]


def test_class_balanced_threshold_absent_class_values() -> None:
    """A class that no pixel is predicted as keeps its threshold, and stays unseen."""
    selector = ClassBalancedThreshold(num_classes=3, maximum=0.95)
    selector(torch.tensor([0.7, 0.2, 0.1]).view(1, 3, 1, 1))
    assert selector.seen.tolist() == [True, False, False]
    np.testing.assert_allclose(selector.threshold[1:], 0.95, rtol=1e-6)
    assert selector.threshold[0] == int(0.7 * 1024) / 1024


def test_class_balanced_threshold_ramp_values() -> None:
    """With a ramp of 4 the weights of kept pixels are 0, 1/4, 1/2, 3/4, 1, 1."""
    selector = ClassBalancedThreshold(num_classes=3, share=1.0, ramp=4)
    weights = [selector(random_probs(1)).weight.max().item() for _ in range(6)]
    assert weights == [0, 0.25, 0.5, 0.75, 1, 1]


def test_class_balanced_threshold_resume() -> None:
    """Saved and restored in the middle, thresholds and ramp go on as if nothing had happened."""
    make = lambda: ClassBalancedThreshold(num_classes=3, ramp=5, momentum=0.5)  # noqa: E731
    straight, first = make(), make()
    for step in range(2):
        straight(random_probs(step))
        first(random_probs(step))
    second = make()
    second.load_state_dict(first.state_dict())
    for step in range(2, 4):
        wanted, found = straight(random_probs(step)), second(random_probs(step))
        assert torch.equal(wanted.weight, found.weight)
        assert torch.equal(wanted.label, found.label)
    assert torch.equal(straight.threshold, second.threshold)


def test_selector_errors() -> None:
    """Each argument out of range is named with its value."""
    with pytest.raises(ValueError, match=r"ignore_rows .* not \(-1, 0\)"):
        ConfidenceShare(ignore_rows=(-1, 0))
    with pytest.raises(ValueError, match='scope has to be "batch" or "image", not \'pixel\''):
        ConfidenceShare(scope="pixel")  # type: ignore[arg-type]
    for make in (ConfidenceShare, ConfidenceThreshold):
        with pytest.raises(ValueError, match=r"threshold is a probability in \[0, 1\], not 96.8"):
            make(threshold=96.8)
    for name in ("share", "maximum", "momentum"):
        with pytest.raises(ValueError, match=rf"{name} is a probability in \[0, 1\], not 2"):
            ClassBalancedThreshold(num_classes=2, **{name: 2})
    with pytest.raises(ValueError, match="ramp is a number of iterations >= 0, not -1"):
        ClassBalancedThreshold(num_classes=2, ramp=-1)
    with pytest.raises(NotImplementedError, match="Selector has to define `select`"):
        Selector()(random_probs(0))
