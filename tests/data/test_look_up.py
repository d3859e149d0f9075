"""The look-up from raw values to train ids, and the constant it shares with the networks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uda.data.class_tables import IGNORE_INDEX
from uda.data.look_up import look_up_table
from uda.structures import IGNORE_INDEX as IGNORE_INDEX_OF_THE_LOSSES


@given(
    st.dictionaries(st.integers(-5, 400), st.integers(0, 255), max_size=20), st.integers(256, 300)
)
def test_look_up_table_properties(table: dict[int, int], size: int) -> None:
    """Each raw value by itself: the table's id, or 255 and unknown; outside ones do not matter."""
    train_ids, known = look_up_table(table, size)
    assert train_ids.tolist() == [table.get(raw, 255) for raw in range(size)]
    assert known.tolist() == [raw in table for raw in range(size)]


def test_ignore_index_is_the_same() -> None:
    """Preparing data loads no torch, so the data room has the constant a second time."""
    assert IGNORE_INDEX == IGNORE_INDEX_OF_THE_LOSSES == 255
