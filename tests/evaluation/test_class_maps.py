"""Classes of resized logits: equal to resizing and argmax, to the bit."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.evaluation.class_maps import ClassMaps, best_class


def plain(logits: Tensor, size: tuple[int, int], align: bool) -> Tensor:
    """What mmseg does."""
    return F.interpolate(logits, size, mode="bilinear", align_corners=align).argmax(1)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, high) for high in (2, 5, 24, 24)]),
    size=st.tuples(st.integers(1, 150), st.integers(1, 40)),
    align=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    levels=st.sampled_from([2, 5, 0]),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_equal_to_resizing_and_argmax(
    shape: tuple[int, int, int, int],
    size: tuple[int, int],
    align: bool,
    dtype: torch.dtype,
    levels: int,
    channels_last: bool,
    seed: int,
) -> None:
    """Any factor, number type and layout of memory; with few levels most pixels tie."""
    generator = torch.Generator().manual_seed(seed)
    shape = (shape[0], shape[1] + 1, *shape[2:])
    logits = torch.randn(shape, generator=generator)
    if levels:
        logits = torch.randint(levels, shape, generator=generator).float()
    logits = logits.to(dtype)
    if channels_last:
        logits = logits.contiguous(memory_format=torch.channels_last)
    found = ClassMaps()(logits, size, align_corners=align)
    assert found.dtype == torch.int64
    assert torch.equal(found, plain(logits, size, align))


def test_memory_is_used_again_without_traces() -> None:
    """Images of other sizes, types and numbers of classes one after the other."""
    generator, maps = torch.Generator().manual_seed(0), ClassMaps()
    for classes, size, dtype in ((3, (9, 9), torch.float32), (3, (9, 9), torch.float32),
                                 (19, (70, 9), torch.float32), (19, (70, 9), torch.bfloat16),
                                 (3, (5, 4), torch.float32)):  # fmt: skip
        logits = torch.randn(2, classes, 5, 4, generator=generator).to(dtype)
        assert torch.equal(maps(logits, size), plain(logits, size, False))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(odd: float) -> None:
    """A broken network is scored as argmax would score it; a NaN is the highest value there."""
    logits = torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    logits[0, 2, 3, 4] = odd
    assert torch.equal(ClassMaps()(logits, (24, 20)), plain(logits, (24, 20), False))
    assert torch.equal(best_class(logits[0]), logits[0].argmax(0))


def test_many_classes_do_not_wrap() -> None:
    """Ids above 255 stay what they are."""
    logits = torch.zeros(300, 1, 2)
    logits[299, 0, 0] = logits[256, 0, 1] = 1
    assert best_class(logits).tolist() == [[299, 256]]
