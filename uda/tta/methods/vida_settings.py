"""The settings of ViDA's three released scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uda.tta.learner import OptimiserSettings

Published = Literal["cifar10", "cifar100", "imagenet"]
Loss = Literal["cross_entropy", "symmetric"]


@dataclass(frozen=True)
class ViDASettings:
    """What one script sets.

    Attributes:
        threshold: Of the uncertainty.
        decay: Share of the old teacher kept, backbone.
        decay_adapters: The same for adapters.
        restore: Probability of each entry to go back to the source.
        optimiser: Of the backbone.
        lr_adapters: Learning rate of the adapters.
        loss: Of the student.
        batch: Images in a batch there.
    """

    threshold: float
    decay: float
    decay_adapters: float
    restore: float
    optimiser: OptimiserSettings
    lr_adapters: float
    loss: Loss
    batch: int


# All of ViT-B/16 with ranks 1 and 128. The paper has 0.2 as threshold on every data set.
PUBLISHED: dict[str, ViDASettings] = {
    "cifar10": ViDASettings(
        threshold=0.05,
        decay=0.999,
        decay_adapters=0.999,
        restore=0.1,
        optimiser=OptimiserSettings("adam", lr=1e-4),
        lr_adapters=1e-5,
        loss="cross_entropy",
        batch=40,
    ),
    "cifar100": ViDASettings(
        threshold=0.05,
        decay=0.999,
        decay_adapters=0.999,
        restore=0.1,
        optimiser=OptimiserSettings("adam", lr=3e-4),
        lr_adapters=1e-6,
        loss="cross_entropy",
        batch=50,
    ),
    "imagenet": ViDASettings(
        threshold=0.2,
        decay=0.999,
        decay_adapters=0.8,
        restore=0.0,
        optimiser=OptimiserSettings("sgd", lr=5e-7, nesterov=True, scaled=False),
        lr_adapters=2e-7,
        loss="symmetric",
        batch=50,
    ),
}
