"""Feature distance: norms by hand, block labels against a slow version, empty masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uda.losses import downscale_label, feature_distance, masked_mean


def slow_blocks(
    label: NDArray[np.int64], factor: int, classes: int, min_share: float
) -> NDArray[np.int64]:
    """The rule as written in the paper's code, one block after the other."""
    height, width = label.shape
    small = np.full((height // factor, width // factor), 255, np.int64)
    for row in range(height // factor):
        for column in range(width // factor):
            block = label[
                row * factor : (row + 1) * factor, column * factor : (column + 1) * factor
            ]
            counts = [int((block == k).sum()) for k in [*range(classes), 255]]
            winner = int(np.argmax(counts))
            if winner < classes and counts[winner] / block.size >= min_share:
                small[row, column] = winner
    return small


def test_feature_distance_values() -> None:
    """Differences (3, 4) and (0, 0): the norms are 5 and 0, not 25 and not 5/sqrt(2)."""
    features = torch.tensor([[3.0, 1.0], [4.0, 1.0]]).view(1, 2, 1, 2)
    reference = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(1, 2, 1, 2)
    assert feature_distance(features, reference).tolist() == [[[5.0, 0.0]]]


def test_feature_distance_grad() -> None:
    """gradcheck away from equality; exactly 0 where both maps agree."""
    torch.manual_seed(0)
    features = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(2, 3, 2, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: feature_distance(f, reference), (features,))
    (gradient,) = torch.autograd.grad(feature_distance(features, features.detach()).sum(), features)
    assert gradient.abs().max() == 0


def test_downscale_label_values() -> None:
    """Blocks of 2x2: 4/4 of class 1; 3/4 of class 0; 2/4; three ignored pixels."""
    label = torch.tensor([[[1, 1, 0, 0, 0, 0, 255, 255], [1, 1, 0, 1, 1, 1, 255, 1]]])
    assert downscale_label(label, (1, 4), num_classes=2).tolist() == [[[1, 0, 255, 255]]]
    strict = downscale_label(label, (1, 4), num_classes=2, min_share=1.0)
    assert strict.tolist() == [[[1, 255, 255, 255]]]


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    factor=st.sampled_from([1, 2, 4]),
    min_share=st.sampled_from([0.0, 0.5, 0.75, 1.0]),
)
def test_downscale_label_parity(seed: int, factor: int, min_share: float) -> None:
    """Equal to counting pixels block by block, for labels of two classes and ignored pixels."""
    generator = np.random.default_rng(seed)
    label = generator.choice([0, 1, 255], size=(2 * factor, 3 * factor), p=[0.6, 0.25, 0.15])
    fast = downscale_label(
        torch.from_numpy(label)[None], (2, 3), num_classes=2, min_share=min_share
    )
    assert np.array_equal(fast[0].numpy(), slow_blocks(label, factor, 2, min_share))


def test_downscale_label_shapes() -> None:
    """Sizes that do not divide the label are allowed."""
    label = torch.zeros(2, 33, 47, dtype=torch.int64)
    small = downscale_label(label, (4, 5), num_classes=3)
    assert small.shape == (2, 4, 5)
    assert small.dtype == torch.int64


def test_masked_mean_values() -> None:
    """(2 + 6) / 2 of the kept values; nothing kept gives 0."""
    values = torch.tensor([2.0, 100.0, 6.0])
    assert masked_mean(values, torch.tensor([True, False, True])).item() == 4
    assert masked_mean(values, torch.zeros(3, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("kept", [[True, False, True], [False, False, False]])
def test_masked_mean_grad(kept: list[bool]) -> None:
    """gradcheck; an empty mask has an exactly zero gradient, also through the distance."""
    mask = torch.tensor(kept)
    values = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: masked_mean(v, mask), (values,))
    features = torch.randn(1, 2, 1, 3, dtype=torch.float64, requires_grad=True)
    distance = feature_distance(features, torch.zeros_like(features))
    (gradient,) = torch.autograd.grad(masked_mean(distance, mask.view(1, 1, 3)), features)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum() == 0) == (not any(kept))
