"""Settings for dense predictions."""

from __future__ import annotations

import pytest
import torch

from tests.tta.tiny import network
from uda.tta import METHODS, adapt, dense_settings


@pytest.mark.parametrize("method", sorted(METHODS))
def test_dense_settings_adapt(method: str) -> None:
    """Every method takes what it is given; those that learn move weights, `bn` statistics alone."""
    settings = dense_settings(method)
    if not settings:
        return
    before = network("segmenter")
    model = adapt(before, method, guard=False, **settings)
    torch.manual_seed(0)
    for image in torch.rand(3, 1, 3, 16, 16):
        assert torch.isfinite(model(image)).all()
    moved = {
        name
        for name, value in model.network.state_dict().items()
        if not torch.equal(value, before.state_dict()[name])
    }
    statistics = {name for name in moved if name.endswith(("running_mean", "running_var"))}
    assert statistics
    learnt = {name for name in moved if name.endswith(("weight", "bias"))}
    assert bool(learnt) == (method != "bn")


def test_dense_settings_names() -> None:
    """The best known methods have settings; what has its own is left alone."""
    assert {name for name in METHODS if dense_settings(name)} == {
        "bn", "ent", "hard_pl", "rpl", "soft_pl", "tent"
    }  # fmt: skip
