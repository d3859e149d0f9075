"""Position tables at other sizes: both rules against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from uda.models.position_tables import table_at


def random_table(rows: int, columns: int, prefix: int) -> Tensor:
    """A table (1, prefix + rows x columns, 3)."""
    torch.manual_seed(0)
    return torch.randn(1, prefix + rows * columns, 3)


@pytest.mark.parametrize("rule", ["timm", "dinov2"])
def test_prefix_and_own_size(rule: str) -> None:
    """Class token and registers are never touched; a table of the right size is returned."""
    table = random_table(7, 7, 5)
    assert table_at(table, (7, 7), own=(7, 7), prefix=5, rule=rule) is table
    other = table_at(table, (4, 9), own=(7, 7), prefix=5, rule=rule)
    assert other.shape == (1, 5 + 36, 3)
    assert torch.equal(other[:, :5], table[:, :5])


@pytest.mark.parametrize("rule", ["timm", "dinov2"])
@pytest.mark.parametrize("grid", [(16, 16), (5, 12), (3, 2), (37, 74)], ids=str)
def test_constant_stays(rule: str, grid: tuple[int, int]) -> None:
    """A constant table is constant at every size, up or down."""
    table = torch.full((1, 50, 2), 0.25)
    other = table_at(table, grid, own=(7, 7), prefix=1, rule=rule)
    torch.testing.assert_close(other, torch.full((1, 1 + grid[0] * grid[1], 2), 0.25))


def cubic(distance: float, a: float) -> float:
    """Keys' cubic kernel."""
    d = abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def resample(values: np.ndarray, wanted: int) -> np.ndarray:
    """One axis by DINOv2's rule: positions (i + 0.5) own / (wanted + 0.1) - 0.5, a = -0.75."""
    own = len(values)
    out = np.zeros((wanted, *values.shape[1:]))
    for index in range(wanted):
        place = (index + 0.5) * own / (wanted + 0.1) - 0.5
        first = math.floor(place)
        for cell in range(first - 1, first + 3):
            out[index] += cubic(place - cell, -0.75) * values[min(max(cell, 0), own - 1)]
    return out


@pytest.mark.parametrize("grid", [(16, 16), (9, 20), (3, 5)], ids=str)
def test_dinov2_rule_parity(grid: tuple[int, int]) -> None:
    """Rows and columns by hand, one axis after the other, at the table's aspect and others."""
    table = random_table(7, 7, 1)
    ours = table_at(table, grid, own=(7, 7), prefix=1, rule="dinov2")[0, 1:]
    by_hand = resample(table[0, 1:].double().numpy().reshape(7, 7, 3), grid[0])
    by_hand = resample(by_hand.transpose(1, 0, 2), grid[1]).transpose(1, 0, 2)
    np.testing.assert_allclose(ours.numpy().reshape(*grid, 3), by_hand, atol=2e-5)


def test_rules_differ() -> None:
    """timm's rule is antialiased bicubic at the exact size; the two differ clearly."""
    table = random_table(7, 7, 0)
    ours, other = (
        table_at(table, (12, 10), own=(7, 7), prefix=0, rule=rule) for rule in ("timm", "dinov2")
    )
    placed = table.unflatten(1, (7, 7)).permute(0, 3, 1, 2)
    wanted = F.interpolate(placed, (12, 10), mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(ours, wanted.flatten(2).transpose(1, 2))
    assert (ours - other).abs().max() > 0.1


@pytest.mark.parametrize("own", [5, 7, 16, 37])
def test_every_size(own: int) -> None:
    """The factor (n + 0.1) / own gives n cells for every n: no rounding error loses one."""
    table = random_table(own, own, 0)
    for wanted in range(1, 120):
        other = table_at(table, (wanted, own), own=(own, own), prefix=0, rule="dinov2")
        assert other.shape[1] == wanted * own


def test_half_precision_keeps_its_type() -> None:
    """A table in bfloat16 is interpolated in float32 and comes back as bfloat16."""
    table = random_table(7, 7, 1).bfloat16()
    other = table_at(table, (5, 5), own=(7, 7), prefix=1, rule="dinov2")
    exact = table_at(table.float(), (5, 5), own=(7, 7), prefix=1, rule="dinov2")
    assert other.dtype == torch.bfloat16
    assert torch.equal(other, exact.bfloat16())


def test_rule_errors() -> None:
    """An unknown rule is refused."""
    with pytest.raises(ValueError, match="Unknown position_rule 'bicubic'"):
        table_at(random_table(2, 2, 0), (3, 3), own=(2, 2), prefix=0, rule="bicubic")
