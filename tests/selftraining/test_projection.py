"""Projections: which maps, how wide, unit length; and the counter of iterations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uda.selftraining.counter import Counter
from uda.selftraining.projection import ProjectionHead, flattened
from uda.structures import NetworkOutput


def output(*maps: torch.Tensor) -> NetworkOutput:
    return NetworkOutput(torch.zeros(1, 2, 4, 4), maps)


def test_projection_values() -> None:
    """Identity layers: (3, 4) becomes (0.6, 0.8); the coarse map is enlarged to the fine one."""
    head = ProjectionHead(channels=(1, 1), levels=(0, 1), size=2, norm=False)
    for layer in head.layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    found = head(output(torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 1, 1), 4.0)))
    torch.testing.assert_close(found[0, :, 1, 1], torch.tensor([0.6, 0.8]))
    assert found.shape == (1, 2, 2, 2)
    nothing = head(output(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 1)))
    assert (nothing == 0).all()


@pytest.mark.parametrize("last", ["plain", "norm_relu"])
def test_projection_shapes(last: str) -> None:
    """Widths are those of the two published heads; pooling halves; lengths are 1 or 0."""
    head = ProjectionHead(channels=(6, 4), levels=(0, -1), size=5, last=last, pool=2)
    convolutions = [layer for layer in head.layers if isinstance(layer, nn.Conv2d)]
    assert [tuple(c.weight.shape[:2]) for c in convolutions] == [(10, 10), (5, 10)]
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in head.layers)
    assert norms == (2 if last == "norm_relu" else 1)
    maps = (torch.randn(2, 6, 5, 6), torch.randn(2, 3, 4, 4), torch.randn(2, 4, 3, 3))
    found = head(output(*maps))
    assert found.shape == (2, 5, 3, 3)
    length = found.norm(dim=1)
    assert ((length - 1).abs().minimum(length) < 1e-5).all()
    assert torch.equal(flattened(found)[4], found[0, :, 1, 1])


def test_projection_in_half_precision_values() -> None:
    """What comes out is float32, and stays float64 where the network is."""
    head = ProjectionHead(channels=(4,), size=3)
    with torch.autocast("cpu", torch.bfloat16):
        assert head(output(torch.randn(2, 4, 2, 2))).dtype == torch.float32
    assert head.double()(output(torch.randn(2, 4, 2, 2).double())).dtype == torch.float64


def test_projection_errors() -> None:
    """Numbers that do not fit each other or the network."""
    with pytest.raises(ValueError, match=r"one map for each of its levels \(0, 1\), but channels="):
        ProjectionHead(channels=(4,), levels=(0, 1))
    with pytest.raises(ValueError, match='last has to be "plain" or "norm_relu", not'):
        ProjectionHead(channels=(4,), last="relu")
    with pytest.raises(ValueError, match="size and pool have to be at least 1, not 4 and 0"):
        ProjectionHead(channels=(4,), size=4, pool=0)
    head = ProjectionHead(channels=(4,), size=3)
    with pytest.raises(TypeError, match="needs a network that returns its features"):
        head(output())
    with pytest.raises(ValueError, match=r"have \(8,\) channels, not \(4,\); set channels=\(8,\)"):
        head(output(torch.zeros(1, 8, 2, 2)))
    with pytest.raises(ValueError, match=r"levels=\(3,\): the network has 1 feature maps"):
        ProjectionHead(channels=(4,), levels=(3,))(output(torch.zeros(1, 4, 2, 2)))


def test_counter_resume() -> None:
    """The count is a buffer; a loaded one goes on from there."""
    counter, other = Counter(), Counter()
    for _ in range(3):
        counter.count()
    other.load_state_dict(counter.state_dict())
    other.count()
    assert (counter.value, other.value, int(other.iteration)) == (3, 4, 4)
