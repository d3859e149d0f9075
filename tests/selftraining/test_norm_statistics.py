"""Statistics of batch normalisation on other images: their values, and that nothing else moves."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from uda.selftraining import EMATeacher
from uda.selftraining.norm_statistics import (
    estimate_statistics,
    load_statistics,
    norm_layers,
    using_statistics,
)


def make_network() -> nn.Sequential:
    """Two normalised layers with Dropout between, in training mode, with a history."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.5), nn.BatchNorm2d(4)
    )
    network(torch.randn(2, 3, 6, 6))
    network[3].eval()
    return network


def state(network: nn.Module) -> list[object]:
    """All that an estimate could disturb."""
    modes = [module.training for module in network.modules()]
    momenta = [layer.momentum for layer in norm_layers(network).values()]
    return [modes, momenta, {k: v.tolist() for k, v in network.state_dict().items()}]


def test_estimate_statistics_values() -> None:
    """Pixels 1, 3 and then 5, 5: means 2 and 5, variances (n - 1) 2 and 0, hence 3.5 and 1."""
    batches = [torch.tensor(pair).view(1, 1, 1, 2) for pair in ([1.0, 3.0], [5.0, 5.0])]
    network = nn.BatchNorm2d(1)
    found = estimate_statistics(network, batches)
    assert {name: value.item() for name, value in found.items()} == {
        "running_mean": 3.5,
        "running_var": 1.0,
        "num_batches_tracked": 2,
    }


def test_estimate_statistics_parity() -> None:
    """With one batch, the network with its estimates computes what the batch's statistics give.

    Up to the factor (n - 1) / n between the two variances, n values a channel.
    """
    network = make_network().eval()
    images = torch.randn(4, 3, 40, 40) * 3 + 1
    with using_statistics(network, estimate_statistics(network, [images])), torch.no_grad():
        found = network(images)
    for layer in norm_layers(network).values():
        layer.train()
    with torch.no_grad():
        wanted = network(images)
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=2e-3)


def test_estimate_statistics_leaves_the_network() -> None:
    """Modes, momenta, buffers and weights are as before, after success and after an error."""

    def broken() -> Iterator[Tensor]:
        yield torch.randn(2, 3, 6, 6)
        raise OSError("unreadable image")

    network = make_network()
    before = state(copy.deepcopy(network))
    estimate_statistics(network, [torch.randn(2, 3, 6, 6)])
    assert state(network) == before
    with pytest.raises(OSError, match="unreadable image"):
        estimate_statistics(network, broken())
    assert state(network) == before


def test_using_statistics_of_a_teacher_values() -> None:
    """Inside the block a teacher has the estimates; afterwards its own, whatever happened."""
    teacher = EMATeacher(make_network())
    network = teacher.network
    found = estimate_statistics(network, [torch.randn(2, 3, 6, 6) + 5])
    before = state(network)

    def inside() -> Tensor:
        with using_statistics(network, found):
            assert torch.equal(network.state_dict()["1.running_mean"], found["1.running_mean"])
            raise KeyError

    with pytest.raises(KeyError):
        inside()
    assert state(network) == before


def test_without_batch_normalisation_values() -> None:
    """Nothing is estimated where nothing keeps statistics."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    assert estimate_statistics(network, [torch.zeros(1, 3, 2, 2)]) == {}


def test_single_values_keep_their_statistics() -> None:
    """A layer behind a pooling to one pixel sees one value a channel: it stays as it is."""
    network = nn.Sequential(nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2))
    network(torch.randn(4, 2, 5, 5) + 3)
    before = network[2].running_mean.clone()
    found = estimate_statistics(network, [torch.randn(1, 2, 5, 5)])
    assert torch.equal(found["2.running_mean"], before)
    assert not torch.equal(found["0.running_mean"], network[0].running_mean)


def test_statistics_errors() -> None:
    """No images, and statistics of another network."""
    with pytest.raises(ValueError, match="were to be estimated on no image at all; give at least"):
        estimate_statistics(make_network(), [])
    with pytest.raises(ValueError, match="The network has no statistics 7.running_mean: they were"):
        load_statistics(make_network(), {"7.running_mean": torch.zeros(4)})
