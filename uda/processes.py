"""What several training processes know together: counts and shares over all their images.

Parts call these functions where a number has to be that of the whole batch: the share of confident
pixels, a threshold of a class, the number of labelled pixels a loss is divided by. Inside
`shared_step`, which the engine opens around a training step of several processes, they exchange it.
Everywhere else, in one process or in somebody else's loop, they return what they were given.

Within a shared step every process has to make the same calls in the same order. That holds as long
as no call stands behind a condition on the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch.distributed
from torch import Tensor

_PROCESSES: ContextVar[int] = ContextVar("processes", default=1)


@contextmanager
def shared_step() -> Iterator[None]:
    """A step that all processes of the default process group make together."""
    token = _PROCESSES.set(torch.distributed.get_world_size())
    try:
        yield
    finally:
        _PROCESSES.reset(token)


def summed(counts: Tensor) -> Tensor:
    """The sum of `counts` over the processes; a new tensor of the same shape and dtype.

    >>> summed(torch.tensor([3, 4])).tolist()
    [3, 4]
    """
    counts = counts.detach().clone()
    if _PROCESSES.get() > 1:
        torch.distributed.all_reduce(counts)
    return counts


def number() -> int:
    """How many processes make this step together; 1 outside of a shared step."""
    return _PROCESSES.get()


def gathered(values: Tensor) -> Tensor:
    """The values of all processes along dimension 0, in the same order everywhere.

    Args:
        values: (N, ...) of the same shape in every process; no gradient passes.

    >>> gathered(torch.tensor([3, 4])).tolist()
    [3, 4]
    """
    values = values.detach()
    if _PROCESSES.get() == 1:
        return values
    parts = [torch.empty_like(values) for _ in range(_PROCESSES.get())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def averaged(share: Tensor) -> Tensor:
    """The mean of `share` over the processes, which have equally many images.

    >>> averaged(torch.tensor(0.25)).item()
    0.25
    """
    return summed(share) / _PROCESSES.get() if _PROCESSES.get() > 1 else share


def mean_over(total: Tensor, count: Tensor) -> Tensor:
    """`total / count`, where the counts of all processes make one mean.

    The mean of what the processes return is `sum of totals / sum of counts`, which is what a single
    process would get for all images. Where nobody counts anything it is 0, with zero gradient.

    Args:
        total: A sum over the pixels of this process, with its gradient.
        count: How many pixels that were.

    >>> mean_over(torch.tensor(6.0), torch.tensor(4)).item()
    1.5
    >>> mean_over(torch.tensor(0.0), torch.tensor(0)).item()
    0.0
    """
    # At least 1: without a pixel the result is 0, not NaN.
    if _PROCESSES.get() == 1:
        return total / count.clamp(min=1)
    return total * (_PROCESSES.get() / summed(count).clamp(min=1))


def common_mean(total: Tensor, count: Tensor) -> Tensor:
    """`total / count` over all processes: the same value in each, for what is not linear in it.

    The gradient is such that the mean of the gradients of all processes is that of a single process
    with all images. Where nobody counts anything it is 0, with zero gradient.

    Args:
        total: A sum over the pixels of this process, with its gradient.
        count: How many pixels that were.

    >>> common_mean(torch.tensor(6.0), torch.tensor(4)).item()
    1.5
    """
    if _PROCESSES.get() == 1:
        return total / count.clamp(min=1)
    everyone = summed(count).clamp(min=1)
    own = total * (_PROCESSES.get() / everyone)
    return summed(total) / everyone + (own - own.detach())
