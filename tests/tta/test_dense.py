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
    # Every pixel may teach something here, whatever it is sure of.
    every = {"margin": 1.0, "redundancy": 1.0}
    settings |= {
        "eta": every, "rdumb": every, "sar": {"margin": 1.0},
        "deyo": {"plpd": -1.0, "threshold": 1.0},
        "eata": {**every, "source_batches": [torch.rand(1, 3, 16, 16)]},
    }.get(method, {})  # fmt: skip
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
        "bn", "deyo", "eata", "ent", "eta", "hard_pl", "rdumb", "rpl", "sar", "soft_pl", "tent"
    }  # fmt: skip
    for name in ("eta", "eata", "rdumb"):
        assert dense_settings(name)["redundancy"] == 0.75
