"""Adversarial warm-up: the network from which rounds of self-training start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from uda import watching
from uda.losses import pixel_accuracy
from uda.losses.cross_entropy import Average
from uda.methods.base import Backward, Method, check_no_teacher, unlabelled
from uda.selftraining.terms import AdversarialOutput, Pass, Term, TermList
from uda.structures import Batch


class AdversarialWarmUp(Method):
    """Supervised training on the source, predictions on the target aligned with it.

    One iteration (Tsai et al., AdaptSegNet, CVPR 2018; first stage of IAST, ECCV 2020): the source
    pass with its cross-entropy; the target pass of `AdversarialOutput`; the discriminator's loss.
    Then the student takes a step, and the discriminator one of its own.

    Args:
        student: See `Method`.
        terms: Further losses; one of them is an `AdversarialOutput`.
        backward: See `Method`.
        average: See `Method`.

    Raises:
        ValueError: No term is an `AdversarialOutput`, or one needs a teacher.
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
        if not any(isinstance(term, AdversarialOutput) for term in terms):
            raise ValueError(
                "AdversarialWarmUp without AdversarialOutput is source-only training: add "
                "dict(type='AdversarialOutput') to its terms, or use SourceOnly."
            )
        check_no_teacher(self, terms)
        self.terms = TermList(terms, self.supervised)

    def begin(self) -> None:
        """Tell the terms that an iteration starts."""
        self.terms.begin(self.student)

    def initialise(self) -> None:
        """Give the terms the freshly initialised student."""
        self.terms.bind(self.student)

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """The source pass, and the passes of the terms."""
        source, target = batch.source, batch.target
        if target is None:
            raise ValueError("AdversarialWarmUp needs target images, but the batch has none.")
        watching.source_labels(source.label)
        output = self.student_pass(source.image)
        losses = self.supervised(output, source.label)
        losses.update(self.terms.source_losses(output, source))
        accuracy = pixel_accuracy(output.logits, source.label)
        del output
        yield Pass("source", losses, {"accuracy": accuracy})
        del losses

        pseudo = unlabelled(target.image)
        for term in self.terms:
            yield from term.passes(self.student_pass, batch, pseudo)
        self.show(source_image=source.image, source_label=source.label, target_image=target.image)
