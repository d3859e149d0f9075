"""Hard pseudo-labels: cross-entropy with the highest class of a teacher."""

from __future__ import annotations

from torch import Tensor

from uda.losses import generalised_cross_entropy
from uda.tta.learner import Learner, OptimiserSettings
from uda.tta.method import Method
from uda.tta.methods.pseudo_labels import Teacher, check_teacher, teacher_logits


class HardPL(Method):
    """Self-learning by hard pseudo-labels: `-log p_y` with `y = argmax` of the teacher.

    Rusak et al., arXiv 2104.12928, section 3.

    Args:
        teacher: `"self"`: the student of the same moment; `"source"`: the unadapted model.
    """

    def __init__(self, *, teacher: Teacher = "self") -> None:
        super().__init__()
        check_teacher(teacher)
        self.teacher_kind = teacher

    def optimiser(self, *, dense: bool) -> OptimiserSettings:
        """SGD, 7.5e-4 without momentum: the released example for ResNet-50."""
        return OptimiserSettings("sgd", lr=7.5e-4, momentum=0.0)

    def step(self, learner: Learner, image: Tensor, valid: Tensor | None = None) -> Tensor:
        """One update; the logits are those of before it."""
        logits = learner.forward(image)
        label = teacher_logits(self.teacher_kind, learner, image, logits).argmax(1)
        samples = learner.select(logits, valid)
        loss = generalised_cross_entropy(samples.of(logits), samples.of_map(label), q=0)
        learner.minimise(samples.mean(loss))
        return logits
