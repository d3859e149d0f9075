"""Semi-relaxed optimal transport against recordings of the released solver."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.parity.rows import Arrays, Row, compare
from uda.selftraining.transport import assignment, semi_relaxed_scaling

PLANS = {"absolute": 1e-5}


def check_semi_relaxed_ot(path: Path) -> list[Row]:
    """Plan, class masses, cost and distance from uniform for each of the recorded gammas."""
    arrays = Arrays.read(path)
    epsilon, temperature = arrays.number("epsilon"), arrays.number("temperature")
    cost = -(arrays.tensor("cosine_logits").double() / temperature).log_softmax(1)
    rows = []
    for number, gamma in enumerate(arrays["gammas"].tolist()):
        scaling = semi_relaxed_scaling(cost, gamma=gamma, epsilon=epsilon)
        plan = assignment(cost, scaling, epsilon=epsilon)
        mass = plan.mean(0)
        uniform = torch.full_like(mass, 1 / len(mass))
        ours = {
            "plan": plan,
            "class_mass": mass,
            "mean_cost": (plan * cost).sum(1).mean(),
            "kl_to_uniform": (uniform * (uniform.log() - (mass + 1e-7).log())).sum(),
        }
        rows += [
            compare(f"{name}[{gamma:g}]", value, arrays[name][number], **PLANS)
            for name, value in ours.items()
        ]
    return rows
