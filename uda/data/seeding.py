"""Random numbers that depend on (seed, draw) alone, not on workers, order or what ran before."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray


@contextlib.contextmanager
def seeded(seed: int, draw: int, stream: int = 0) -> Iterator[None]:
    """Run a block with python, NumPy and torch CPU generators seeded from (seed, draw, stream).

    The three states from before the block are put back afterwards, also after an error, so that a
    data set used in the training process does not disturb the training's own random numbers.

    Args:
        seed: Seed of the run, >= 0.
        draw: Number of the draw, >= 0.
        stream: Separates blocks of one draw that must not share numbers (0 source, 1 target).

    Example:
        >>> with seeded(0, 7):
        ...     first = random.random(), np.random.rand(), torch.rand(1).item()
        >>> with seeded(0, 7):
        ...     first == (random.random(), np.random.rand(), torch.rand(1).item())
        True
    """
    generator = torch.default_generator
    before = random.getstate(), np.random.get_state(), generator.get_state()
    words = np.random.SeedSequence([seed, stream, draw]).generate_state(8)
    random.seed(words[:4].tobytes())
    np.random.seed(words[4:])
    # Not torch.manual_seed, which reseeds every accelerator as well.
    generator.manual_seed(int.from_bytes(words[:2].tobytes(), "little") >> 1)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        generator.set_state(before[2])


def epoch_index(seed: int, draw: int, length: int, stream: int = 0) -> int:
    """Index of the image at one draw of an endless shuffled walk: each image once per epoch.

    Epoch ``draw // length`` has its own permutation, made from (seed, stream, epoch).

    Args:
        seed: Seed of the run, >= 0.
        draw: Number of the draw, >= 0.
        length: Number of images, >= 1.
        stream: Separates walks that must not be aligned (0 source, 1 target).

    Returns:
        Index in 0..length-1.

    Example:
        >>> sorted(epoch_index(3, draw, 5) for draw in range(5, 10))
        [0, 1, 2, 3, 4]
    """
    epoch, position = divmod(draw, length)
    return int(_permutation(seed, stream, epoch, length)[position])


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, epoch: int, length: int) -> NDArray[np.int64]:
    # The trailing number keeps this apart from the sequences of `seeded`, which have three words.
    sequence = np.random.SeedSequence([seed, stream, epoch, 1])
    return np.random.default_rng(sequence).permutation(length)
