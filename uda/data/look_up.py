"""From raw label values to train ids: the one table look-up of conversion, counting and loading."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from uda.data.class_tables import IGNORE_INDEX


def look_up_table(
    table: Mapping[int, int], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Train id of each raw value (255 where the table has none), and whether the table has it.

    Indexing both with an image of raw values gives its train ids and its known pixels.

    Args:
        table: ``{raw value: train id}``, train ids 0..255; raw values from `size` on are left out.
        size: Number of raw values covered: 256 for 8 bits, 65536 for 16.

    Returns:
        uint8 (size,) and bool (size,).

    Example:
        >>> train_ids, known = look_up_table({7: 0, 26: 13}, 256)
        >>> train_ids[[7, 26, 8]].tolist(), known[[7, 26, 8]].tolist()
        ([0, 13, 255], [True, True, False])
    """
    train_ids = np.full(size, IGNORE_INDEX, dtype=np.uint8)
    known = np.zeros(size, dtype=np.bool_)
    for raw, train_id in table.items():
        if 0 <= raw < size:
            train_ids[raw], known[raw] = train_id, True
    return train_ids, known
