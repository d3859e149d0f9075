"""Source-only training: the line every adaptation has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from uda import watching
from uda.losses import pixel_accuracy
from uda.losses.cross_entropy import Average
from uda.methods.base import Backward, Method, check_no_teacher, unlabelled
from uda.selftraining.terms import Pass, Term, TermList
from uda.structures import Batch


class SourceOnly(Method):
    """Trains the student on labelled source images alone.

    Target images are looked at by terms, if at all: `MaskedConsistency(images="source")` needs
    none; with a teacher of its own it adds consistency on the target to source-only training.

    Args:
        student: See `Method`.
        terms: Further losses, such as `FeatureDistance`.
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
        check_no_teacher(self, terms)
        self.terms = TermList(terms, self.supervised)

    def begin(self) -> None:
        """Tell the terms that an iteration starts."""
        self.terms.begin(self.student)

    def initialise(self) -> None:
        """Give the terms the freshly initialised student."""
        self.terms.bind(self.student)

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Cross-entropy on the source images, and the passes of the terms."""
        source = batch.source
        watching.source_labels(source.label)
        output = self.student_pass(source.image)
        losses = self.supervised(output, source.label)
        losses.update(self.terms.source_losses(output, source))
        accuracy = pixel_accuracy(output.logits, source.label)
        del output
        self.show(source_image=source.image, source_label=source.label)
        yield Pass("source", losses, {"accuracy": accuracy})
        del losses
        pseudo = unlabelled(source.image if batch.target is None else batch.target.image)
        for term in self.terms:
            yield from term.passes(self.student_pass, batch, pseudo)
