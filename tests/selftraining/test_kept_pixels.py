"""Statistics of kept pixels: by hand, nothing kept, resume."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.selftraining import KeptPixels
from uda.structures import PseudoLabel


def pseudo_of(label: list[int], confidence: list[float]) -> PseudoLabel:
    """A pseudo-label of one row, its ignored pixels with weight 0."""
    row = torch.tensor(label).view(1, 1, -1)
    return PseudoLabel(row, (row != 255).float(), torch.tensor(confidence).view(1, 1, -1))


def test_class_mean_values() -> None:
    """Means 0.75 and 0.5: first 0.75, then 0.99 * 0.75 + 0.01 * 0.5 = 0.7475; class 1 stays 0.

    The ignored pixel of confidence 0.25 counts nowhere, nor does a pixel of weight 0.
    """
    kept = KeptPixels(num_classes=2)
    assert kept.update(pseudo_of([0, 0, 255], [0.5, 1.0, 0.25])).tolist() == [[2, 0]]
    assert kept.class_mean.tolist() == [0.75, 0]
    second = pseudo_of([0, 1, 0], [0.5, 0.25, 0.25])
    second.weight[0, 0, 1:] = 0
    assert kept.update(second).tolist() == [[1, 0]]
    assert kept.class_mean[0].item() == pytest.approx(0.7475)
    assert kept.class_mean[1] == 0
    assert kept.class_pixels.tolist() == [3, 0]


def test_nothing_kept_values() -> None:
    """A batch without a kept pixel leaves everything as it was."""
    kept = KeptPixels(num_classes=2)
    kept.update(pseudo_of([1, 0], [0.5, 0.5]))
    before = kept.class_mean.clone()
    assert kept.update(pseudo_of([255, 255], [0.9, 0.9])).tolist() == [[0, 0]]
    assert torch.equal(kept.class_mean, before)


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_counts_properties(seed: int) -> None:
    """Counts of images add up to the kept pixels; means lie among the confidences."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.tensor([0, 1, 2, 255])[torch.randint(4, (3, 4, 5), generator=generator)]
    confidence = 0.5 + torch.rand(3, 4, 5, generator=generator) / 2
    kept = KeptPixels(num_classes=3)
    images = kept.update(PseudoLabel(label, torch.ones(3, 4, 5), confidence))
    assert torch.equal(images.sum(1), (label != 255).sum((1, 2)))
    for k in range(3):
        if (label == k).any():
            wanted = confidence[label == k].double().mean()
            torch.testing.assert_close(kept.class_mean[k], wanted)


def test_kept_pixels_resume() -> None:
    """Restored from its state it goes on the same."""
    straight = KeptPixels(num_classes=2)
    straight.update(pseudo_of([0, 1], [0.5, 0.9]))
    second = KeptPixels(num_classes=2)
    second.load_state_dict(straight.state_dict())
    for kept in (straight, second):
        kept.update(pseudo_of([0, 1], [0.7, 0.8]))
    assert torch.equal(straight.class_mean, second.class_mean)
    assert torch.equal(straight.class_pixels, second.class_pixels)


def test_kept_pixels_errors() -> None:
    """The momentum has to be a share."""
    with pytest.raises(ValueError, match=r"momentum is a probability in \[0, 1\], not 99"):
        KeptPixels(num_classes=2, momentum=99)
