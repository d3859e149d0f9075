"""Soft pseudo-labels: cross-entropy with the probabilities of a teacher."""

from __future__ import annotations

import warnings

from torch import Tensor

from uda.losses import soft_cross_entropy
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.method import Method
from uda.tta.methods.pseudo_labels import Teacher, check_teacher, teacher_logits


class SoftPL(Method):
    """Self-learning by soft pseudo-labels: `-sum_k t_k log p_k`, t from a teacher and detached.

    Rusak et al., arXiv 2104.12928, section 3. With the student of the same moment and temperature 1
    the gradient is `p - p = 0` and nothing ever moves; so the default sharpens the labels.

    Args:
        teacher: `"self"`: the student of the same moment; `"source"`: the unadapted model, which
            differs from the student at first only by statistics of batch normalisation.
        temperature: The teacher's logits are divided by it, above 0; below 1 sharpens.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(self, *, teacher: Teacher = "self", temperature: float = 0.5) -> None:
        super().__init__()
        check_teacher(teacher)
        if not temperature > 0:
            raise ValueError(f"temperature has to be above 0, not {temperature}.")
        if teacher == "self" and temperature == 1:
            warnings.warn(
                "soft_pl with its own predictions and temperature 1 has no gradient: nothing will "
                'move; set temperature below 1 or teacher="source".',
                stacklevel=2,
            )
        self.teacher_kind, self.temperature = teacher, temperature

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """SGD, 7.5e-4 without momentum: the released example for ResNet-50."""
        return OptimiserSettings("sgd", lr=7.5e-4, momentum=0.0)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One update; the logits are those of before it."""
        logits = learner.forward(image)
        target = teacher_logits(self.teacher_kind, learner, image, logits)
        samples = learner.select(logits, valid)
        probs = (samples.of(target) / self.temperature).softmax(1)
        learner.minimise(samples.mean(soft_cross_entropy(samples.of(logits), probs)))
        return logits
