"""How the tests of this folder draw: the same examples each time, and not many of them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def bounded(examples: int) -> settings:
    """The same `examples` in each run and on each machine.

    Args:
        examples: How many.
    """
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        # Temporary folders are shared by the examples of a test, which write all their files anew.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def spoiled(content: bytes) -> st.SearchStrategy[bytes]:
    """Contents with one to three bits flipped, some bytes exchanged, or cut off."""
    places = st.integers(0, len(content) - 1)
    flips = st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=3, unique=True)
    exchanged = st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=6)
    return st.one_of(
        flips.map(lambda bits: flipped(content, bits)),
        exchanged.map(lambda pairs: with_bytes(content, pairs)),
        places.map(lambda count: content[:count]),
    )


def flipped(content: bytes, bits: list[tuple[int, int]]) -> bytes:
    """The content with single bits turned round, each given by its byte and number."""
    changed = bytearray(content)
    for place, bit in bits:
        changed[place] ^= 1 << bit
    return bytes(changed)


def with_bytes(content: bytes, pairs: list[tuple[int, int]]) -> bytes:
    """The content with other bytes at some places."""
    changed = bytearray(content)
    for place, value in pairs:
        changed[place] = value
    return bytes(changed)
