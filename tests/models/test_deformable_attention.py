"""Deformable attention: hand-derived values, a slow reference, gradients, the start, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.models.deformable_attention import DeformableAttention, cell_centres, sample_maps


def slow_sample(values: Tensor, sizes: list[tuple[int, int]], places: Tensor, weights: Tensor):
    """`sample_maps`, one point and one neighbouring cell at a time, in NumPy."""
    value, place, weight = (t.double().numpy() for t in (values, places, weights))
    batch, queries, heads, levels, points, _ = place.shape
    out = np.zeros((batch, queries, heads, value.shape[-1]))
    starts = np.cumsum([0] + [h * w for h, w in sizes])
    for n, q, head, level, point in np.ndindex(batch, queries, heads, levels, points):
        height, width = sizes[level]
        x, y = place[n, q, head, level, point]
        column, row = x * width - 0.5, y * height - 0.5
        for i in (math.floor(row), math.floor(row) + 1):
            for j in (math.floor(column), math.floor(column) + 1):
                if 0 <= i < height and 0 <= j < width:
                    share = (1 - abs(row - i)) * (1 - abs(column - j))
                    cell = value[n, starts[level] + i * width + j, head]
                    out[n, q, head] += weight[n, q, head, level, point] * share * cell
    return out.reshape(batch, queries, -1)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    sizes=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3),
    heads=st.integers(1, 3),
    points=st.integers(1, 3),
)
def test_sample_maps_parity(
    seed: int, sizes: list[tuple[int, int]], heads: int, points: int
) -> None:
    """Any sizes, points inside and outside of the image: equal to the slow version."""
    torch.manual_seed(seed)
    cells = sum(h * w for h, w in sizes)
    values = torch.randn(2, cells, heads, 2, dtype=torch.float64)
    places = 1.6 * torch.rand(2, 3, heads, len(sizes), points, 2, dtype=torch.float64) - 0.3
    weights = torch.rand(2, 3, heads, len(sizes), points, dtype=torch.float64)
    ours = sample_maps(values, sizes, places, weights)
    np.testing.assert_allclose(ours, slow_sample(values, sizes, places, weights), atol=1e-12)


def test_sample_maps_values() -> None:
    """Row 1 0 of a 1x2 map read at the right edge: half of the cell 0 and half of nothing."""
    values = torch.tensor([4.0, 2.0]).view(1, 2, 1, 1)
    edge = torch.tensor([1.0, 0.5]).view(1, 1, 1, 1, 1, 2)
    far = torch.tensor([3.0, 0.5]).view(1, 1, 1, 1, 1, 2)
    one = torch.ones(1, 1, 1, 1, 1)
    assert sample_maps(values, [(1, 2)], edge, one).item() == 1.0
    assert sample_maps(values, [(1, 2)], far, one).item() == 0.0


def test_deformable_attention_grad() -> None:
    """Gradients with respect to queries, reference points and values, in float64.

    Sampling points lie away from cell centres, where bilinear reading has kinks.
    """
    torch.manual_seed(3)
    sizes = [(3, 4), (2, 2)]
    attention = DeformableAttention(channels=8, heads=2, levels=2, value_ratio=0.5).double()
    for parameter in attention.parameters():
        torch.nn.init.uniform_(parameter, -0.3, 0.3)
    query = torch.randn(1, 3, 8, dtype=torch.float64, requires_grad=True)
    values = torch.randn(1, 16, 8, dtype=torch.float64, requires_grad=True)
    reference = (0.2 + 0.6 * torch.rand(1, 3, 2, 2, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q, r, v: attention(q, r, v, sizes), (query, reference, values)
    )


def test_start() -> None:
    """Four heads point right, down, left, up, 1 to 4 cells away, with equal attention.

    With y growing downwards, angle pi/2 points to larger rows. Eight heads have diagonals, whose
    larger coordinate is 1.
    """
    attention = DeformableAttention(channels=16, heads=8, levels=1)
    ring = attention.sampling_offsets.bias.detach().view(8, 1, 4, 2)
    torch.testing.assert_close(ring[0, 0], torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]]))
    torch.testing.assert_close(ring[1, 0, 2], torch.tensor([3.0, 3.0]))
    torch.testing.assert_close(ring[6, 0, 0], torch.tensor([0.0, -1.0]), atol=1e-6, rtol=0)
    assert not attention.attention_weights.weight.any()
    assert not attention.attention_weights.bias.any()


def test_uniform_map_gives_itself() -> None:
    """Inside a constant map every query reads the constant: attention sums to 1.

    The projections are the identity here, so the output is the value itself.
    """
    attention = DeformableAttention(channels=4, heads=2, levels=2, points=1)
    for layer in (attention.value_proj, attention.output_proj):
        torch.nn.init.eye_(layer.weight)
    torch.nn.init.normal_(attention.attention_weights.weight)
    values = torch.tensor([1.0, -2.0, 3.0, 0.5]).expand(1, 25 + 9, 4)
    middle = torch.tensor([0.5, 0.5]).view(1, 1, 1, 2).expand(1, 6, 1, 2)
    with torch.no_grad():
        out = attention(torch.randn(1, 6, 4), middle, values, [(5, 5), (3, 3)])
    torch.testing.assert_close(out, values[:, :6])


def test_bfloat16_coordinates() -> None:
    """Under autocast, cells of a 200-cell row are still told apart (bfloat16 has 8 bits)."""
    attention = DeformableAttention(channels=4, heads=1, levels=1, points=1)
    for layer in (attention.value_proj, attention.output_proj):
        torch.nn.init.eye_(layer.weight)
    torch.nn.init.zeros_(attention.sampling_offsets.bias)
    values = torch.zeros(1, 200, 4)
    values[0, ::2] = 1.0
    reference = cell_centres([(1, 200)], torch.device("cpu"))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = attention(torch.randn(1, 200, 4), reference, values, [(1, 200)])
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), values, atol=1e-2, rtol=0)


@pytest.mark.parametrize(
    ("sizes", "tokens"), [([(2, 2)], 4), ([(2, 2), (1, 1)], 6)], ids=["levels", "cells"]
)
def test_size_errors(sizes: list[tuple[int, int]], tokens: int) -> None:
    """Sizes have to describe the values."""
    attention = DeformableAttention(channels=4, heads=1, levels=2)
    with pytest.raises(ValueError, match=r"over 2 map\(s\) got sizes .* for [46] value tokens"):
        attention(torch.zeros(1, 1, 4), torch.zeros(1, 1, 1, 2), torch.zeros(1, tokens, 4), sizes)


def test_width_errors() -> None:
    """Heads have to divide the value width."""
    with pytest.raises(ValueError, match=r"value width 5 \(10 channels x value_ratio 0\.5\)"):
        DeformableAttention(channels=10, heads=2, levels=1, value_ratio=0.5)
