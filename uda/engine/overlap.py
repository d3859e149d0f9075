"""Work for two cores: the network predicts a batch while another one is counted or selected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Items = TypeVar("Items")
Predicted = TypeVar("Predicted")


def overlapped(
    batches: Iterable[tuple[int, Items]],
    predict: Callable[[Items], Predicted],
    finish: Callable[[int, Predicted], None],
) -> None:
    """Predict one batch after the other; `finish` each in a thread while the next is predicted.

    Selection and statistics are work for one core; so a second one does it beside the network.
    What `finish` raises comes out of here, before another batch is finished.

    Args:
        batches: Number and items.
        predict: Called with the items, in this thread.
        finish: Called with number and prediction, in their order, in another one.

    >>> overlapped(enumerate([2, 3]), lambda n: n * n, lambda number, n: print(number, n))
    0 4
    1 9
    """
    with ThreadPoolExecutor(1, thread_name_prefix="finish") as thread:
        before: Future[None] | None = None
        for number, items in batches:
            parts = predict(items)
            if before is not None:
                before.result()
            before = thread.submit(finish, number, parts)
            del parts
        if before is not None:
            before.result()
