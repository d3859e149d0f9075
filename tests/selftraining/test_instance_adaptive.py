"""Instance adaptive thresholds: by hand, against NumPy's quantile, absent classes, resume."""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from uda.selftraining import InstanceAdaptive, KeptPixels


def random_probs(seed: int, classes: int = 4, size: tuple[int, int, int] = (2, 5, 6)) -> Tensor:
    """Probabilities (N, K, H, W), the last class never the highest."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size[0], classes, *size[1:], generator=generator)
    logits[:, -1] = -10
    return logits.softmax(1)


def probs_of(confidence: list[list[float]]) -> Tensor:
    """Probabilities (1, 3, 1, M) whose maxima are the given confidences of classes 0 and 1."""
    columns = []
    for class_id, values in enumerate(confidence):
        for value in values:
            column = [(1 - value) / 2] * 3
            column[class_id] = value
            columns.append(column)
    return torch.tensor(columns, dtype=torch.float64).T.reshape(1, 3, 1, -1)


def test_worked_example_values() -> None:
    """Class 0 has confidences .95 .85 .80 .60 .55, class 1 .70 .50, class 2 none; theta 0.9.

    q = 1 - 0.5 * 0.9^8 = 0.7847664. Class 0: sorted with 0.9 at place 4 of 0..5, position
    5 q = 3.92383, 0.85 + 0.92383 * 0.05 = 0.896192 (0.896199 with float16). Class 1: position
    2 q = 1.56953, 0.7 + 0.56953 * 0.2 = 0.813907. Class 2: 0.9. The new thresholds are
    0.9 * 0.9 + 0.1 psi; kept is what reaches them.
    """
    selector = InstanceAdaptive(num_classes=3)
    pseudo = selector(probs_of([[0.95, 0.85, 0.8, 0.6, 0.55], [0.7, 0.5]]))
    psi = torch.tensor([0.896192, 0.813907, 0.9], dtype=torch.float64)
    torch.testing.assert_close(selector.instance_threshold, psi, rtol=0, atol=1e-6)
    torch.testing.assert_close(selector.threshold, 0.81 + 0.1 * psi, rtol=0, atol=1e-7)
    assert pseudo.label.tolist() == [[[0, *[255] * 6]]]
    assert pseudo.weight.tolist() == [[[1, *[0] * 6]]]


def test_worked_example_in_half_precision_values() -> None:
    """The recorded psi (0.896199, 0.813991, 0.9): confidences are rounded to float16, 0.9 not."""
    selector = InstanceAdaptive(num_classes=3, half_precision=True)
    selector(probs_of([[0.95, 0.85, 0.8, 0.6, 0.55], [0.7, 0.5]]))
    wanted = torch.tensor([0.896199, 0.813991, 0.9], dtype=torch.float64)
    torch.testing.assert_close(selector.instance_threshold, wanted, rtol=0, atol=1e-6)


def slow_update(
    theta: NDArray[np.float64],
    label: NDArray[np.int64],
    confidence: NDArray[np.float64],
    **s: float,
) -> NDArray[np.float64]:
    """The thresholds after one batch, class by class with NumPy's quantile."""
    new = theta.copy()
    for k in range(len(theta)):
        values = np.append(theta[k], confidence[label == k])
        psi = np.quantile(values, 1 - s["alpha"] * theta[k] ** s["gamma"])
        new[k] = s["beta"] * theta[k] + (1 - s["beta"]) * psi
    new[new >= 1] = 0.999
    return new


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    alpha=st.floats(0, 1),
    beta=st.floats(0, 1),
    gamma=st.sampled_from([0.0, 1.0, 8.0]),
    half=st.booleans(),
    with_padding=st.booleans(),
)
def test_thresholds_parity(
    seed: int, alpha: float, beta: float, gamma: float, half: bool, with_padding: bool
) -> None:
    """Over three batches thresholds are NumPy's; pixels at or above the new ones are kept."""
    selector = InstanceAdaptive(
        num_classes=4, alpha=alpha, beta=beta, gamma=gamma, half_precision=half
    )
    theta = np.full(4, 0.9)
    generator = torch.Generator().manual_seed(seed)
    for step in range(3):
        probs = random_probs(3 * seed + step)
        valid = torch.rand(2, 5, 6, generator=generator) < 0.7 if with_padding else None
        pseudo = selector(probs, valid)
        confidence, label = (part.numpy() for part in probs.max(1))
        counted = np.ones_like(label, bool) if valid is None else valid.numpy()
        rounded = confidence.astype(np.float16) if half else confidence
        theta = slow_update(
            theta,
            label[counted],
            rounded[counted].astype(np.float64),
            alpha=alpha,
            beta=beta,
            gamma=gamma,
        )
        np.testing.assert_allclose(selector.threshold.numpy(), theta, rtol=1e-12)
        kept = confidence.astype(np.float64) >= selector.threshold.numpy()[label]
        assert np.array_equal(pseudo.label.numpy(), np.where(kept, label, 255))
        assert np.array_equal(pseudo.weight.numpy(), kept & counted)
        # the class that is never predicted, up to the rounding of 0.9 t + 0.1 t
        assert selector.threshold[-1].item() == pytest.approx(0.9, rel=1e-12)


def test_threshold_at_one_values() -> None:
    """Certain predictions move the threshold to 1, which becomes 0.999; 0.9995 would stay."""
    certain = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    selector = InstanceAdaptive(num_classes=2, beta=0.0, gamma=0.0)
    assert selector(certain).label.unique().tolist() == [0]
    assert selector.threshold.tolist() == [0.999, 0.9]
    selector = InstanceAdaptive(num_classes=2, beta=0.5, alpha=0.0, initial=0.999)
    selector(certain)
    assert selector.threshold[0].item() == pytest.approx(0.9995)


def test_group_values() -> None:
    """Two images in turn are two batches of one image; together they are something else."""
    probs = random_probs(5)
    single = InstanceAdaptive(num_classes=4)
    apart = [single(image) for image in probs.split(1)]
    turn = InstanceAdaptive(num_classes=4, group="image")
    pseudo = turn(probs)
    assert torch.equal(turn.threshold, single.threshold)
    assert torch.equal(pseudo.label, torch.cat([part.label for part in apart]))
    together = InstanceAdaptive(num_classes=4, group="batch")
    together(probs)
    assert not torch.equal(together.threshold[:3], turn.threshold[:3])


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    first=st.floats(0, 1),
    second=st.floats(0, 1),
    gamma=st.sampled_from([0.0, 1.0, 8.0]),
    half=st.booleans(),
)
def test_alpha_properties(seed: int, first: float, second: float, gamma: float, half: bool) -> None:
    """A larger share keeps more; no threshold leaves the range of confidences and the old one."""
    low, high = sorted((first, second))
    probs = random_probs(seed)
    selectors = [
        InstanceAdaptive(num_classes=4, alpha=a, gamma=gamma, half_precision=half)
        for a in (low, high)
    ]
    fewer, more = (selector(probs) for selector in selectors)
    assert (fewer.weight <= more.weight).all()
    for selector in selectors:
        assert selector.threshold.min() >= min(0.9, probs.max(1).values.min())
        # rounded to float16, a confidence may have gone up
        assert selector.threshold.max() <= max(0.9, probs.max(1).values.max() + 2**-11 * half)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 1000),
    rows=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    group=st.sampled_from(["batch", "image"]),
)
def test_ignored_pixels_properties(
    seed: int, rows: tuple[int, int], share: float, group: Literal["batch", "image"]
) -> None:
    """No ignored pixel is kept, over several batches, and none has moved a threshold."""
    selector = InstanceAdaptive(num_classes=4, initial=0.3, group=group, ignore_rows=rows)
    other = copy.deepcopy(selector)
    generator = torch.Generator().manual_seed(seed)
    for step in range(2):
        probs = random_probs(2 * seed + step)
        valid = torch.rand(2, 5, 6, generator=generator) < share
        trusted = valid.clone()
        trusted[:, : rows[0]] = False
        trusted[:, max(5 - rows[1], 0) :] = False
        pseudo = selector(probs, valid)
        assert not pseudo.weight[~trusted].any()
        changed = torch.where(trusted.unsqueeze(1), probs, random_probs(seed + 7))
        other(changed, valid)
        assert torch.equal(selector.threshold, other.threshold)


def test_nothing_trusted_values() -> None:
    """A batch of padding alone moves no threshold and keeps nothing."""
    selector = InstanceAdaptive(num_classes=4, beta=0.0)
    pseudo = selector(random_probs(0), torch.zeros(2, 5, 6, dtype=torch.bool))
    assert selector.threshold.tolist() == [0.9] * 4
    assert pseudo.weight.max() == 0


def test_resume() -> None:
    """Saved and restored in the middle, thresholds go on to the bit."""
    straight, first = InstanceAdaptive(num_classes=4), InstanceAdaptive(num_classes=4)
    for step in range(2):
        straight(random_probs(step))
        first(random_probs(step))
    second = InstanceAdaptive(num_classes=4)
    second.load_state_dict(first.state_dict())
    straight(random_probs(2))
    second(random_probs(2))
    assert torch.equal(straight.threshold, second.threshold)
    assert second.threshold.dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 20}, r"alpha is a probability in \[0, 1\], not 20"),
        ({"beta": -0.1}, r"beta is a probability in \[0, 1\], not -0.1"),
        ({"initial": 90}, r"initial is a probability in \[0, 1\], not 90"),
        ({"gamma": -1}, "gamma has to be at least 0 .* not -1"),
        ({"group": "set"}, 'group has to be "batch" or "image", not \'set\''),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_errors(arguments: dict[str, Any], message: str) -> None:
    """Each argument out of range is named with its value."""
    with pytest.raises(ValueError, match=message):
        InstanceAdaptive(num_classes=2, **arguments)


def test_class_number_errors() -> None:
    """Probabilities of another number of classes are refused."""
    with pytest.raises(ValueError, match="has num_classes=3, the probabilities have 4 classes"):
        InstanceAdaptive(num_classes=3)(random_probs(0))


def test_selection_reads_nothing_properties() -> None:
    """Nothing waits for the device: tensors on torch's meta device have no values to read."""
    selector = InstanceAdaptive(num_classes=4, half_precision=True).to("meta")
    kept = KeptPixels(num_classes=4).to("meta")
    for _ in range(2):
        pseudo = selector(
            random_probs(0).to("meta"), torch.ones(2, 5, 6, dtype=torch.bool).to("meta")
        )
        assert kept.update(pseudo).is_meta
    assert pseudo.label.is_meta


def test_nan_probabilities() -> None:
    """Numbers that went wrong elsewhere are told there; here nothing is kept and nothing fails."""
    selector = InstanceAdaptive(num_classes=3)
    probs = torch.full((1, 3, 4, 4), torch.nan)
    for _ in range(2):
        pseudo = selector(probs)
    assert (pseudo.label == 255).all()
    assert (pseudo.weight == 0).all()
