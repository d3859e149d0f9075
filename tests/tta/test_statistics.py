"""Statistics of batch normalisation while a model adapts: values, gradients, modes, errors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from tests.tta.tiny import classifier, images, network
from uda.tta.statistics import Statistics, freeze_rule


def normalised(values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """By definition, without weights."""
    shape = [1, -1, *[1] * (values.ndim - 2)]
    return (values - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm])
def test_statistics_values(kind: type[nn.Module]) -> None:
    """A blend of N = 2 stored images with 6 of the batch: a quarter stored; robust: 0.05 new."""
    shape = {nn.BatchNorm1d: (6, 2, 4), nn.BatchNorm3d: (6, 2, 3, 2, 2)}.get(kind, (6, 2, 3, 4))
    values = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = kind(2).double()
    layer.running_mean, layer.running_var = torch.randn(2).double(), torch.rand(2).double()
    dims = [d for d in range(values.ndim) if d != 1]
    mean, biased = values.mean(dims), values.var(dims, correction=0)
    unbiased = values.var(dims)
    old = layer.running_mean.clone(), layer.running_var.clone()
    with Statistics("blend", prior=2).applied(layer, update=True):
        found = layer(values)
    blended = 0.25 * old[0] + 0.75 * mean, 0.25 * old[1] + 0.75 * unbiased
    torch.testing.assert_close(found, normalised(values, *blended))
    with Statistics("batch").applied(layer, update=True):
        torch.testing.assert_close(layer(values), normalised(values, mean, biased))
    assert torch.equal(layer.running_mean, old[0])
    with Statistics("robust").applied(layer, update=True):
        found = layer(values)
    robust = 0.95 * old[0] + 0.05 * mean, 0.95 * old[1] + 0.05 * biased
    torch.testing.assert_close(found, normalised(values, *robust))
    torch.testing.assert_close((layer.running_mean, layer.running_var), robust)
    assert not layer._forward_pre_hooks


def test_statistics_grad() -> None:
    """The gradient of blended and robust statistics flows through the batch's part."""
    layer = nn.BatchNorm2d(2).double()
    for kind in ("blend", "robust"):

        def run(values: Tensor, kind: str = kind) -> Tensor:
            own = copy.deepcopy(layer)
            with Statistics(kind).applied(own, update=True):
                return own(values)

        values = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(run, (values,))


@pytest.mark.parametrize(
    "kind", ["auto", "source", "batch", "running", "blend", "cumulative", "stream"]
)
def test_statistics_leave_modes(kind: str) -> None:
    """Modes and hooks are as before, also after an error; without update nothing moves."""
    made = classifier().train()
    made[0].eval()
    before = {name: value.clone() for name, value in made.named_buffers()}
    with pytest.raises(RuntimeError), Statistics(kind).applied(made, update=True):
        made(torch.zeros(1, 7, 8, 8))
    with Statistics(kind).applied(made, update=False):
        made(images())
    assert (made.training, made[0].training, made[1].training) == (True, False, True)
    assert made[1].track_running_stats
    assert all(torch.equal(value, before[name]) for name, value in made.named_buffers())


def test_statistics_stream_values() -> None:
    """4 stored images, then batches of 2 and 4: 0.4 stored, 0.2 and 0.4 of these; no prior: 1/3."""
    generator = torch.Generator().manual_seed(0)
    first, second = (
        torch.randn(n, 2, 3, 4, dtype=torch.float64, generator=generator) for n in (2, 4)
    )
    moments = [(v.mean((0, 2, 3)), v.var((0, 2, 3))) for v in (first, second)]
    for prior, (stored, one, two) in {4.0: (0.4, 0.2, 0.4), 0.0: (0.0, 1 / 3, 2 / 3)}.items():
        layer = nn.BatchNorm2d(2).double()
        layer.running_mean, layer.running_var = torch.randn(2).double(), torch.rand(2).double()
        old = layer.running_mean.clone(), layer.running_var.clone()
        statistics = Statistics("stream", prior=prior)
        layer.num_batches_tracked += 1000  # of training, which do not count
        statistics.start(layer)
        with statistics.applied(layer, update=True):
            layer(first)
            found = layer(second)
        mean, variance = (
            stored * o + one * a + two * b for o, a, b in zip(old, *moments, strict=True)
        )
        torch.testing.assert_close(found, normalised(second, mean, variance))
        with statistics.applied(layer, update=False):
            torch.testing.assert_close(layer(first), normalised(first, mean, variance))
        torch.testing.assert_close((layer.running_mean, layer.running_var), (mean, variance))


def test_statistics_stream_share_values() -> None:
    """A quarter of the batch's own beside the stream's, while adapting and while predicting."""
    values = torch.randn(2, 2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    own = values.mean((0, 2, 3)), values.var((0, 2, 3))
    layer = nn.BatchNorm2d(2).double()  # mean 0 and variance 1, for 2 images
    statistics = Statistics("stream", prior=2, share=0.75)
    statistics.start(layer)
    mean, variance = 0.75 * (own[0] / 2) + 0.25 * own[0], 0.75 * (1 + own[1]) / 2 + 0.25 * own[1]
    for update in (True, False):
        with statistics.applied(layer, update=update):
            torch.testing.assert_close(layer(values), normalised(values, mean, variance))
    exported = copy.deepcopy(layer)
    freeze_rule(exported, statistics)
    torch.testing.assert_close(exported(values), normalised(values, mean, variance))


def test_statistics_auto() -> None:
    """16 images: the batch's; fewer: blended; single values a channel: the stored ones."""
    made = network("classifier")
    for count, other in ((16, Statistics("batch")), (15, Statistics("blend"))):
        with Statistics("auto").applied(made, update=True):
            found = made(images(count))
        with other.applied(made, update=True):
            torch.testing.assert_close(made(images(count)), found)
    exported = copy.deepcopy(made)
    freeze_rule(exported, Statistics("auto"))
    torch.testing.assert_close(exported(images(15)), found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "mean"}, "statistics has to be one of"),
        ({"prior": -1}, "prior is a number of images"),
        ({"share": 1.5}, "share of the stored statistics"),
        ({"momentum": 2}, "momentum has to lie"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_statistics_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Statistics(**arguments)  # type: ignore[arg-type]
