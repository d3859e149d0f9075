"""Where the pseudo-labels of self-learning come from."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from uda.tta.learner import Learner

Teacher = Literal["self", "source"]


def check_teacher(teacher: str) -> None:
    """Refuse a teacher that is not known.

    Raises:
        ValueError: It is neither `"self"` nor `"source"`.
    """
    if teacher not in ("self", "source"):
        raise ValueError(f'teacher has to be "self" or "source", not {teacher!r}.')


def teacher_logits(
    teacher: Teacher, learner: Learner, image: Tensor, student_logits: Tensor
) -> Tensor:
    """Logits of the teacher, without gradient: the student's own, or the unadapted model's."""
    return student_logits.detach() if teacher == "self" else learner.predict_source(image)
