"""Calls between two adaptations predict by the statistics of the last one."""

from __future__ import annotations

import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.tta.tiny import images, network
from uda.tta import Adapter, adapt
from uda.tta import statistics as statistics_module
from uda.tta.held import HeldStatistics
from uda.tta.statistics import Statistics


def by_moments(made: nn.Module, image: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """The tiny networks' logits by given statistics of their one layer."""
    hidden = made[0](image)
    return made[2:](F.batch_norm(hidden, mean, variance, made[1].weight, made[1].bias))


def moments_of(made: nn.Module, image: Tensor, *, unbiased: bool) -> tuple[Tensor, Tensor]:
    hidden = made[0](image)
    return hidden.mean((0, 2, 3)), hidden.var((0, 2, 3), correction=int(unbiased))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["batch", "blend", "stream"])
def test_held_values(kind: str) -> None:
    """What the adapted pass normalised by: of 4 images a fifth is theirs with 16 stored ones."""
    made = network("segmenter")
    settings = {"statistics": Statistics(kind), "every": 2, "guard": False, "lr": 0.0}
    model = adapt(made, "tent", **settings)
    model(images(4, 1))
    mean, variance = moments_of(made, images(4, 1), unbiased=kind != "batch")
    if kind in ("blend", "stream"):  # mean 0 and variance 1 were stored
        mean, variance = 0.2 * mean, 0.8 + 0.2 * variance
    found = model(images(4, 2))
    torch.testing.assert_close(found, by_moments(made, images(4, 2), mean, variance))
    own = adapt(made, "tent", **settings, between="own")
    own(images(4, 1))
    other = own(images(4, 2))
    assert torch.equal(other, own.predict(images(4, 2)))
    if kind != "stream":
        assert not torch.allclose(other, found)


def test_calls_between_compute_no_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of four calls take no moments and enter no layer in training mode."""
    counted: list[int] = []
    moments = statistics_module.moments

    def noted(values: Tensor, *, unbiased: bool) -> tuple[Tensor, Tensor]:
        counted.append(1)
        return moments(values, unbiased=unbiased)

    monkeypatch.setattr(statistics_module, "moments", noted)
    modes: list[bool] = []
    made = network("classifier")
    made[1].register_forward_hook(lambda layer, inputs, output: modes.append(layer.training))
    model = adapt(made, "tent", statistics="blend", every=4, guard=False)
    for seed in range(8):
        model(images(4, seed))
    assert len(counted) == 2
    assert not any(modes)
    assert model.report()["updates"] == 2
    assert model.report()["forward"] == 9  # one at first tells images from pixels


def models() -> tuple[Adapter, Adapter]:
    settings = {"statistics": "batch", "every": 2, "guard": False, "lr": 0.05}
    first, second = (adapt(network("classifier"), "tent", **settings) for _ in range(2))
    return first, second


def test_held_resume() -> None:
    """A state from between two adaptations goes on to the bit; a reset forgets."""
    model, other = models()
    model(images(4, 1))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(4):
        assert torch.equal(model(images(4, seed)), other(images(4, seed)))
    model.to(torch.float64)
    assert all(value.dtype == torch.float64 for pair in model.learner.held.values.values()
               for value in pair)  # fmt: skip
    model.reset()
    assert not model.learner.held


def test_held_leaves_no_trace() -> None:
    """Statistics, counters, momenta and modes of layers are as they were, also after an error."""
    made = network("classifier")
    before = {name: value.clone() for name, value in made.state_dict().items()}
    noted: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    with Statistics("batch").applied(made, update=True, noted=noted):
        made(images(4))
        made(images(2))  # the layer runs twice; the last pass is noted
    held = HeldStatistics()
    held.take(made, noted)
    mean, variance = moments_of(made, images(2), unbiased=False)
    torch.testing.assert_close(held.values["1"], (mean.detach(), variance.detach()))
    made.train()
    with pytest.raises(RuntimeError), held.applied(made):
        made(torch.zeros(1, 7, 8, 8))
    assert made[1].training
    assert (made[1].momentum, made[1].track_running_stats) == (0.1, True)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_between_errors() -> None:
    with pytest.raises(ValueError, match='between has to be "held" or "own"'):
        adapt(network("classifier"), "tent", between="last")
