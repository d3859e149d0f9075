"""Self-training on the target alone, with pseudo-labels from disk: the rounds of IAST and HIAST."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from uda import watching
from uda.losses import pixel_accuracy
from uda.losses.cross_entropy import Average
from uda.methods.base import Backward, Method, Optimiser
from uda.selftraining.health import largest_class_share
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.terms import Pass, Term, TermList
from uda.structures import IGNORE_INDEX, Batch, Mixed, PseudoLabel


class HardAwareSelfTraining(Method):
    """The student learns target images by heart where they have a pseudo-label, and beyond.

    One iteration (HIAST, TPAMI 2025, released code; IAST, Mei et al., ECCV 2020, without the
    teacher's part):

    1. cross-entropy of the student's strong view with the pseudo-labels, over kept pixels;
    2. the terms: `RegionRegularisation`, and `RegionConsistency` with the teacher's
       probabilities of the weak view; passes of further terms, for which the weak view with the
       labels from disk is the target;
    3. one optimiser step;
    4. the teacher moves towards the student, at once with its full decay.

    Batches come from `PseudoLabelledTarget`: `source` is the strong view with its pseudo-label,
    `target` the weak view of the same images. There are no source images. The teacher starts as a
    copy of the student in every round; its probabilities make the labels of the next one.

    Args:
        student: See `Method`.
        teacher: Made from the same student. HIAST: `EMATeacher(decay=0.999, warmup=False,
            buffers="copy", mode="eval")`.
        terms: Further losses; those that a batch without source images can have.
        backward: See `Method`.
        average: See `Method`; `"valid"` (reference), the mean over kept pixels, 0 if none is kept.
    """

    def __init__(
        self,
        *,
        student: nn.Module,
        teacher: EMATeacher,
        terms: Sequence[Term] = (),
        backward: Backward = "each",
        average: Average = "valid",
    ) -> None:
        super().__init__(student=student, backward=backward, average=average)
        self.teacher = teacher
        self.terms = TermList(terms, self.supervised)
        for term in self.terms:
            term.join_teacher(self.teacher)

    def begin(self) -> None:
        """Tell the terms that an iteration starts."""
        self.terms.begin(self.student)

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """The pass over the strong view, and the passes of the terms."""
        strong, weak = batch.source, batch.target
        if weak is None:
            raise ValueError(
                "HardAwareSelfTraining needs a weak and a strong view of each target image; take "
                "its batches from PseudoLabelledTarget."
            )
        kept = strong.label != IGNORE_INDEX
        mixed = Mixed(
            weak.image,
            strong.label,
            kept.to(weak.image.dtype),
            torch.zeros_like(kept).unsqueeze(1),
            valid=weak.valid,
        )
        self.terms.add_teacher(mixed, self.teacher)
        mixed.image = strong.image
        output = self.student_pass(mixed.image)
        # The labels are from disk: the student's own scores tell the classes of rejected pixels.
        pseudo = PseudoLabel(mixed.label, mixed.weight, mixed.weight)
        watching.pseudo_labels(pseudo, output.logits, weak.valid, logits=True)
        watching.answers(output.logits, mixed.label)
        losses = self.supervised(output, mixed.label)
        losses.update(self.terms.mixed_losses(output, mixed))
        metrics = {
            "accuracy": pixel_accuracy(output.logits, mixed.label),
            "kept_share": mixed.weight.mean() * 100,
            "pseudo_weight": mixed.weight.mean(),
            "largest_class": largest_class_share(pseudo),
        }
        del output
        yield Pass("target", losses, metrics)
        del losses, metrics
        for term in self.terms:
            yield from term.passes(self.student_pass, batch, pseudo)
        self.show(target_image=weak.image, mixed_image=mixed.image, mixed_label=mixed.label)

    def training_step(
        self, batch: Batch, optimiser: Optimiser, further: Iterable[Batch] = ()
    ) -> dict[str, Tensor]:
        """One iteration; see `Method.training_step`. The teacher follows after the step."""
        log = super().training_step(batch, optimiser, further)
        if self.look_ahead is None:
            self.teacher.update(self.student)
        return log

    def initialise(self) -> None:
        """Start the teacher, and what the terms keep, from the freshly loaded student."""
        self.teacher.copy_from(self.student)
        # Its update 0 copies; counted here, so that the first step is followed with full decay.
        self.teacher.update(self.student)
        self.terms.bind(self.student)

    def networks(self) -> dict[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.student, "teacher": self.teacher.network}
