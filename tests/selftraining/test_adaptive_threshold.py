"""FreeMatch and FlexMatch thresholds for pixels, by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uda.selftraining import AdaptiveThreshold


def probs_of(*first: float) -> torch.Tensor:
    """Two-class probabilities (1, 2, 1, n) with the given ones of class 0."""
    row = torch.tensor(first).view(1, 1, 1, -1)
    return torch.cat([row, 1 - row], 1)


def test_freematch_values() -> None:
    """m = 0.5, K = 2, start 1/2 each. Pixels of class 0: 0.9, 0.7; of class 1: 0.8.

    Confidences: mean 0.8, t = 0.65. Class 0: mean p (0.9 + 0.7 + 0.2) / 3 = 0.6, p~ = 0.55; class
    1: 0.45. Limits: 0.65 for class 0, 0.65 * 0.45 / 0.55 = 0.5318 for class 1: all are kept. The
    same again: t = 0.725, p~ = 0.575 and 0.425, limits 0.725 and 0.5359: 0.7 falls.
    """
    selector = AdaptiveThreshold(num_classes=2, momentum=0.5)
    probs = probs_of(0.9, 0.7, 0.2)
    assert selector(probs).label.flatten().tolist() == [0, 0, 1]
    assert selector.mean_confidence.item() == pytest.approx(0.65)
    assert selector.class_share.tolist() == pytest.approx([0.55, 0.45])
    pseudo = selector(probs)
    assert pseudo.label.flatten().tolist() == [0, 255, 1]
    assert pseudo.weight.flatten().tolist() == [1, 0, 1]


def test_freematch_maximum_values() -> None:
    """At most 0.6: a pixel at 0.7 stays though the mean is higher."""
    selector = AdaptiveThreshold(num_classes=2, momentum=0.0, maximum=0.6)
    assert selector(probs_of(0.99, 0.7)).label.flatten().tolist() == [0, 0]


def test_flexmatch_values() -> None:
    """Threshold 0.8, m = 0: class 0 has two of four pixels above it, class 1 one; one is below.

    s = (0.5, 0.25), u = 0.25; b = (1, 0.5); limits 0.8 and 0.8 * 0.5 / 1.5 = 0.2667: of class 1
    the pixel at 0.6 is kept.
    """
    selector = AdaptiveThreshold(num_classes=2, rule="flexmatch", momentum=0.0, threshold=0.8)
    pseudo = selector(probs_of(0.9, 0.85, 0.1, 0.4))
    assert pseudo.label.flatten().tolist() == [0, 0, 1, 1]
    assert selector.class_share.tolist() == pytest.approx([0.5, 0.25])
    pseudo = selector(probs_of(0.9, 0.7, 0.6, 0.6))  # s = (0.25, 0), u = 0.75: b = (1/3, 0)
    assert pseudo.label.flatten().tolist() == [0, 0, 0, 0]  # limit 0.8 / 3 / (5 / 3) = 0.16


@pytest.mark.parametrize("rule", ["freematch", "flexmatch"])
def test_nothing_trusted_values(rule: Any) -> None:
    """Without a trusted pixel the statistics stay, and every weight is 0."""
    selector = AdaptiveThreshold(num_classes=3, rule=rule, momentum=0.2)
    before = {name: value.clone() for name, value in selector.state_dict().items()}
    probs = torch.full((1, 3, 2, 2), 1 / 3)
    pseudo = selector(probs, torch.zeros(1, 2, 2, dtype=torch.bool))
    assert pseudo.weight.abs().max() == 0
    for name, value in selector.state_dict().items():
        assert torch.equal(value, before[name]), name


@settings(deadline=None)
@given(seed=st.integers(0, 100), rule=st.sampled_from(["freematch", "flexmatch"]))
def test_adaptive_threshold_properties(seed: int, rule: Any) -> None:
    """Statistics stay probabilities; ignored rows weigh 0; a kept pixel keeps its own class."""
    generator = torch.Generator().manual_seed(seed)
    selector = AdaptiveThreshold(num_classes=4, rule=rule, momentum=0.3, ignore_rows=(1, 0))
    for _ in range(3):
        probs = (4 * torch.randn(2, 4, 3, 5, generator=generator)).softmax(1)
        pseudo = selector(probs)
    assert 0 <= selector.class_share.min() <= selector.class_share.sum() <= 1 + 1e-6
    assert pseudo.weight[:, 0].abs().max() == 0
    kept = pseudo.label != 255
    assert torch.equal(pseudo.label[kept], probs.argmax(1)[kept])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "softmatch"}, 'rule has to be "freematch" or "flexmatch", not \'softmatch\''),
        ({"momentum": 2.0}, "momentum is a probability"),
        ({"threshold": -1.0}, "threshold is a probability"),
        ({"maximum": 1.5}, "maximum is a probability"),
    ],
    ids=["rule", "momentum", "threshold", "maximum"],
)
def test_adaptive_threshold_errors(arguments: dict[str, Any], message: str) -> None:
    """Each wrong argument is named."""
    with pytest.raises(ValueError, match=message):
        AdaptiveThreshold(num_classes=2, **arguments)
