"""Curves of pseudo-labels: hand-derived shares, all groups, no value read before the log."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.engine.live.health import PseudoLabelSums
from uda.structures import PseudoLabel

NAMES = ["road", "sky", "car/van"]


def pseudo_of(label: list[int], weight: list[float]) -> PseudoLabel:
    """Labels of an image of one row."""
    weights = torch.tensor([[weight]])
    return PseudoLabel(torch.tensor([[label]]), weights, weights)


def probs_of(*pixels: tuple[float, float, float]) -> Tensor:
    """(1, 3, 1, W) probabilities."""
    return torch.tensor(pixels).T.reshape(1, 3, 1, -1)


def test_health_values() -> None:
    """Three pixels predicted as road, one as sky; one in padding does not count.

    Of road are kept 1, 0.5 and nothing: 0.5. All: (1 + 0.5 + 0 + 1) / 4. Confidence of road:
    (0.8 + 0.6 + 0.4) / 3. The last pixel has label road, though sky was predicted: labelled weights
    are 2.5 of road. Source: half sky, half car, so that the histograms share nothing.
    """
    sums = PseudoLabelSums(num_classes=3, stride=1)
    probs = probs_of((0.8, 0.2, 0), (0.6, 0.4, 0), (0.4, 0.3, 0.3), (0, 1, 0), (0, 0, 1))
    pseudo = pseudo_of([0, 0, 255, 0, 2], [1, 0.5, 0, 1, 1])
    valid = torch.tensor([[[True, True, True, True, False]]])
    sums.add_labels("", pseudo, probs, valid)
    sums.add_source(torch.tensor([[[1, 2, 255, 255, 255]]]))
    # The student says road, sky, ...; the third pixel is pasted, the fourth rejected.
    logits = probs_of((1, 0, 0), (0, 1, 0), (1, 0, 0), (1, 0, 0), (0, 0, 1))
    pasted = torch.tensor([[[[False, False, True, False, False]]]])
    sums.add_answers("", logits, torch.tensor([[[0, 0, 0, 255, 2]]]), pasted)
    found = sums.pop(NAMES)
    entropy = -(
        0.8 * torch.tensor(0.8).log()
        + 0.2 * torch.tensor(0.2).log()
        + 0.6 * torch.tensor(0.6).log()
        + 0.4 * torch.tensor(0.4).log()
        + 0.4 * torch.tensor(0.4).log()
        + 2 * 0.3 * torch.tensor(0.3).log()
    )
    assert found == pytest.approx(
        {
            "pseudo/kept": 2.5 / 4,
            "pseudo/kept/road": 0.5,
            "pseudo/kept/sky": 1.0,
            "pseudo/confidence": (0.8 + 0.6 + 0.4 + 1) / 4,
            "pseudo/confidence/road": 0.6,
            "pseudo/confidence/sky": 1.0,
            "pseudo/agreement": 2 / 3,
            "pseudo/agreement/road": 0.5,
            "pseudo/agreement/car-van": 1.0,
            "pseudo/entropy": entropy.item() / 4,
            "classes/pseudo/road": 1.0,
            "classes/pseudo/sky": 0.0,
            "classes/pseudo/car-van": 0.0,
            "classes/source/road": 0.0,
            "classes/source/sky": 0.5,
            "classes/source/car-van": 0.5,
            "classes/distance": 1.0,
        }
    )
    assert sums.pop(NAMES) == {}


def test_health_scores_values() -> None:
    """Logits count by their softmax, probabilities of two teachers by their mean."""
    probs = probs_of((0.7, 0.2, 0.1))
    pseudo = pseudo_of([0], [1.0])
    found = []
    for scores, logits in ((probs, False), (probs.log(), True), (torch.stack([probs] * 2), False)):
        sums = PseudoLabelSums(num_classes=3, stride=1)
        sums.add_labels("secondary", pseudo, scores, logits=logits)
        found.append(sums.pop(NAMES))
    assert found[1] == pytest.approx(found[0])
    assert found[2] == pytest.approx(found[0])
    assert found[0]["secondary/pseudo/confidence"] == pytest.approx(0.7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(1, 4))
def test_health_properties(seed: int, images: int, stride: int) -> None:
    """Shares lie in [0, 1], those of classes add up to 1, and splitting a batch changes nothing."""
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(images, 3, 8, 12, generator=generator).softmax(1)
    label = torch.randint(3, (images, 8, 12), generator=generator)
    weight = torch.rand(images, 8, 12, generator=generator)
    whole, parts = (PseudoLabelSums(num_classes=3, stride=stride) for _ in range(2))
    whole.add_labels("", PseudoLabel(label, weight, weight), probs)
    for n in range(images):
        one = slice(n, n + 1)
        parts.add_labels("", PseudoLabel(label[one], weight[one], weight[one]), probs[one])
    found = whole.pop(NAMES)
    assert found == pytest.approx(parts.pop(NAMES), rel=1e-5)
    assert all(0 <= value <= 1 for name, value in found.items() if "entropy" not in name)
    assert sum(v for k, v in found.items() if k.startswith("classes/pseudo/")) == pytest.approx(1)


def test_health_half_precision_values() -> None:
    """Under autocast, where a product would be of bfloat16, thousands of pixels are all counted."""
    sums = PseudoLabelSums(num_classes=3, stride=1)
    label = torch.zeros(1, 64, 65, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        sums.add_source(label)
    assert sums.state_dict()[""].sum() == 64 * 65


def test_health_resume() -> None:
    """Half an interval, saved and loaded elsewhere, goes on as one interval."""
    probs, pseudo = probs_of((0.7, 0.2, 0.1), (0.1, 0.8, 0.1)), pseudo_of([0, 255], [1, 0])
    straight, first, second = (PseudoLabelSums(num_classes=3, stride=1) for _ in range(3))
    for sums in (straight, straight, first):
        sums.add_labels("", pseudo, probs)
    second.load_state_dict(first.state_dict())
    first.pop(NAMES)
    second.add_labels("", pseudo, probs)
    assert second.pop(NAMES) == straight.pop(NAMES)
