"""Two teachers of one student, one fast and one slow."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from uda.selftraining.teacher import Buffers, EMATeacher, Mode


class TeacherPair(EMATeacher):
    """Two `EMATeacher`s of one student that follow it at different rates.

    `predict` gives the probabilities of both, (2, N, K, H, W). Selectors take their mean;
    `TeacherDivergence` weighs pixels by their disagreement. Different rates are this toolkit's way
    to two teachers: the two-teacher trainer of Ohkawa et al. (ECCV 2022) is not released.

    Args:
        student: See `EMATeacher`.
        decays: Of the slow teacher, which is the one evaluated, and of the fast one.
        warmup: See `EMATeacher`.
        buffers: See `EMATeacher`.
        mode: See `EMATeacher`.

    Raises:
        ValueError: Both decays are the same, or out of range.
    """

    def __init__(
        self,
        student: nn.Module,
        *,
        decays: tuple[float, float] = (0.999, 0.99),
        warmup: bool = True,
        buffers: Buffers = "own",
        mode: Mode = "train",
    ) -> None:
        slow, fast = decays
        if slow == fast:
            raise ValueError(
                f"decays={tuple(decays)}: two teachers with the same decay are one; give two."
            )
        super().__init__(student, decay=slow, warmup=warmup, buffers=buffers, mode=mode)
        self.fast = EMATeacher(student, decay=fast, warmup=warmup, buffers=buffers, mode=mode)

    def follow(self, student: nn.Module) -> None:
        """Move both."""
        super().follow(student)
        self.fast.follow(student)

    def count(self) -> None:
        """Count an update of both."""
        super().count()
        self.fast.count()

    def copy_from(self, student: nn.Module) -> None:
        """Both take over the student whole."""
        super().copy_from(student)
        self.fast.copy_from(student)

    def predict(self, image: Tensor) -> Tensor:
        """The class probabilities of both, (2, N, K, H, W), for `image` (N, 3, H, W)."""
        return torch.stack([super().predict(image), self.fast.predict(image)])

    def train(self, mode: bool = True) -> TeacherPair:
        """Keep the teachers' own mode."""
        super().train(mode)
        if hasattr(self, "fast"):  # the base class sets its mode before there is a second one
            self.fast.train(mode)
        return self


def check_teachers(teacher: nn.Module, selector: nn.Module) -> None:
    """Raise if a selector needs the probabilities of two teachers and gets those of one.

    Args:
        teacher: An `EMATeacher` or a part derived from it.
        selector: A `Selector`.

    Raises:
        ValueError: It does.
    """
    wanted = getattr(selector, "teachers", 1)
    if wanted == 2 and not isinstance(teacher, TeacherPair):
        raise ValueError(
            f"{type(selector).__name__} compares two teachers, {type(teacher).__name__} is one: "
            'set teacher=dict(type="TeacherPair"), or take another selector.'
        )
