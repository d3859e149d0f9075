"""InfoNCE of places in two views: by hand, who is a negative, where gradients go."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.fuzz.bounded import bounded
from uda.losses import patch_contrast


def example(seed: int = 0) -> dict[str, Tensor]:
    """Six places and seven negatives, some of which are of nobody, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def unit(count: int) -> Tensor:
        return F.normalize(torch.randn(count, 4, generator=generator, dtype=torch.float64), dim=1)

    negative_label = torch.randint(3, (7,), generator=generator)
    negative_label[::3] = 255
    return {
        "features": unit(6),
        "other": unit(6),
        "label": torch.randint(3, (6,), generator=generator),
        "negatives": unit(7),
        "negative_label": negative_label,
        "counted": torch.rand(6, generator=generator) < 0.7,
    }


def test_patch_values() -> None:
    """z z' = 1, negatives at 0 and -1 of another label, T = 1: log((e + 1 + 1/e) / e).

    A negative of the same label and one of label 255 have no part; a place that does not count
    neither.
    """
    features = torch.tensor([[1.0, 0.0], [7.0, 7.0]])
    negatives = torch.tensor([[0.0, 1.0], [-1.0, 0.0], [5.0, 0.0], [6.0, 0.0]])
    loss = patch_contrast(
        features,
        features,
        torch.tensor([0, 0]),
        negatives,
        torch.tensor([1, 2, 0, 255]),
        torch.tensor([True, False]),
        temperature=1.0,
    )
    assert loss.item() == pytest.approx(math.log((math.e + 1 + 1 / math.e) / math.e))


def test_patch_grad() -> None:
    """The gradient is right in float64; the other view and the negatives get none."""
    given_ = example()
    for name in ("features", "other", "negatives"):
        given_[name].requires_grad_()
    rest = {name: value for name, value in given_.items() if name != "features"}
    rest["other"], rest["negatives"] = rest["other"].detach(), rest["negatives"].detach()
    assert torch.autograd.gradcheck(
        lambda z: patch_contrast(z, **rest, temperature=0.5), (given_["features"],)
    )
    patch_contrast(**given_).backward()
    assert given_["other"].grad is None
    assert given_["negatives"].grad is None


@bounded(40)
@given(seed=st.integers(0, 2**31), temperature=st.sampled_from([0.01, 0.1, 1.0]))
def test_patch_properties(seed: int, temperature: float) -> None:
    """At least 0, finite with its gradients, and lower without some of the negatives."""
    given_ = example(seed)
    features = given_["features"].float().requires_grad_()
    rest = {k: v.float() if v.is_floating_point() else v for k, v in given_.items()}
    loss = patch_contrast(**{**rest, "features": features}, temperature=temperature)
    (gradient,) = torch.autograd.grad(loss, features)
    assert gradient.isfinite().all()
    assert (gradient[~rest["counted"]] == 0).all()
    rest["negative_label"] = torch.where(torch.arange(7) < 4, rest["negative_label"], 255)
    fewer = patch_contrast(**rest, temperature=temperature)
    assert 0 <= fewer.item() <= loss.item() + 1e-6


def test_nothing_counts() -> None:
    """No place counts, there is none, or no negative is one: 0 with zero gradient."""
    given_ = example()
    leaf = given_["features"].clone().requires_grad_()
    nobody = torch.zeros_like(given_["counted"])
    nothing = torch.full_like(given_["negative_label"], 255)
    for changes in ({"counted": nobody}, {"negative_label": nothing}):
        loss = patch_contrast(**{**given_, "features": leaf, **changes})
        (gradient,) = torch.autograd.grad(loss, leaf)
        assert loss.item() == 0
        assert (gradient == 0).all()
    few = {k: v[:0] if k in ("features", "other", "label", "counted") else v
           for k, v in given_.items()}  # fmt: skip
    assert patch_contrast(**few).item() == 0
