"""Source-only training: the line every adaptation has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from uda.losses import pixel_accuracy
from uda.losses.cross_entropy import Average
from uda.methods.base import Backward, Method
from uda.selftraining.terms import Pass, Term, TermList
from uda.structures import Batch


class SourceOnly(Method):
    """Trains the student on labelled source images alone; target images are not looked at.

    Args:
        student: See `Method`.
        terms: Further losses on the source pass, such as `FeatureDistance`.
        backward: See `Method`.
        average: See `Method`.

    Raises:
        ValueError: A term needs a teacher.
    """

    def __init__(
        self,
        *,
        student: nn.Module,
        terms: Sequence[Term] = (),
        backward: Backward = "each",
        average: Average = "all",
    ) -> None:
        super().__init__(student=student, backward=backward, average=average)
        for term in terms:
            if term.needs_teacher:
                raise ValueError(
                    f"{type(term).__name__} learns from a teacher's predictions, and SourceOnly "
                    "has no teacher: use SelfTraining, or leave the term out."
                )
        self.terms = TermList(terms)

    def initialise(self) -> None:
        """Give the terms the freshly initialised student."""
        self.terms.bind(self.student)

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Cross-entropy on the source images."""
        source = batch.source
        output = self.student_pass(source.image)
        losses = self.supervised(output, source.label)
        losses.update(self.terms.source_losses(output, source))
        self.show(source_image=source.image, source_label=source.label)
        yield Pass("source", losses, {"accuracy": pixel_accuracy(output.logits, source.label)})
