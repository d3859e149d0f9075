"""Loss curves of tiny runs: `python -m tests.methods.make_golden` writes them anew.

Do so only when a method is meant to compute something else, and say why in the changelog.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from uda.methods import Method
from uda.methods.base import PlainOptimiser

from .tiny import (
    make_adversarial,
    make_batch,
    make_hard_aware,
    make_masked,
    make_self_training,
    make_source_only,
    make_student,
    optimisers,
)

FOLDER = Path(__file__).parent / "golden"
ITERATIONS = 20
METHODS: dict[str, Callable[[nn.Module], Method]] = {
    "adversarial_warm_up": make_adversarial,
    "hard_aware_self_training": make_hard_aware,
    "masked_consistency": make_masked,
    "self_training": make_self_training,
    "source_only": make_source_only,
}


def loss_curve(name: str) -> list[dict[str, float]]:
    """All logged scalars of each iteration of a tiny run in float64 on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        method = METHODS[name](make_student().double())
        adam = torch.optim.AdamW(method.student.parameters(), lr=2e-2)
        optimiser = PlainOptimiser(adam, opponents=optimisers(method).opponents)
        # A discriminator needs larger images.
        size = 32 if method.opponents() else 16
        curve = []
        for iteration in range(ITERATIONS):
            batch = make_batch(iteration % 4, size, torch.float64)
            torch.manual_seed(iteration)
            log = method.training_step(batch, optimiser)
            curve.append({key: value.item() for key, value in log.items()})
    finally:
        torch.set_num_threads(threads)
    return curve


def write(name: str) -> Path:
    """Write one curve: a header, the names, and a line of numbers for each iteration."""
    curve = loss_curve(name)
    lines = [
        f"# {name}: {ITERATIONS} iterations of tests/methods/tiny.py, float64, one thread",
        f"# torch {torch.__version__}, Python {platform.python_version()}, cpu "
        f"{platform.machine()}",
        " ".join(curve[0]),
        *(" ".join(repr(value) for value in step.values()) for step in curve),
    ]
    path = FOLDER / f"{name}.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(name: str) -> list[dict[str, float]]:
    """A stored curve."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    names, *rows = [line.split() for line in text.splitlines() if not line.startswith("#")]
    return [dict(zip(names, map(float, row), strict=True)) for row in rows]


if __name__ == "__main__":
    for name in METHODS:
        print(write(name).name)
