"""Self-training across domains: DACS, DAFormer, and what is built on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from uda import watching
from uda.losses import pixel_accuracy
from uda.losses.cross_entropy import Average
from uda.methods.base import Backward, Method
from uda.selftraining.health import largest_class_share
from uda.selftraining.selectors import Selector
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.teacher_pair import check_teachers
from uda.selftraining.terms import Pass, Term, TermList
from uda.selftraining.views import FourierStyle, NoView, View
from uda.structures import Batch, Labelled, Mixed, PseudoLabel, Unlabelled


class SelfTraining(Method):
    """An EMA teacher labels the target; the student learns from source and mixed images.

    One iteration (Tranheden et al., DACS, WACV 2021; Hoyer et al., DAFormer, CVPR 2022;
    `dacs.py`):

    1. move the teacher towards the student;
    2. source: cross-entropy with the labels, and the terms on the source pass;
    3. the teacher labels the target images, the selector weighs its labels;
    4. mixed: paste source classes onto the target, change the colours, weighted cross-entropy;
    5. the passes of further terms; one optimiser step over all gradients.

    DAFormer is this class with `EMATeacher`, `ConfidenceShare`, `ClassMix`, `ColorJitterBlur` and
    `FeatureDistance`, on batches drawn by rare class sampling.

    Args:
        student: See `Method`.
        teacher: Labels the target; made from the same student.
        selector: Turns the teacher's probabilities into weighted pseudo-labels.
        mixer: Makes mixed images of source, target and pseudo-labels.
        view: Changes the colours of mixed images; None leaves them.
        terms: Further losses.
        source_style: Gives the source images the style of the target images; None leaves them.
        backward: See `Method`.
        average: See `Method`.
    """

    def __init__(
        self,
        *,
        student: nn.Module,
        teacher: EMATeacher,
        selector: Selector,
        mixer: nn.Module,
        view: View | None = None,
        terms: Sequence[Term] = (),
        source_style: FourierStyle | None = None,
        backward: Backward = "each",
        average: Average = "all",
    ) -> None:
        super().__init__(student=student, backward=backward, average=average)
        check_teachers(teacher, selector)
        self.teacher = teacher
        self.selector = selector
        self.mixer = mixer
        self.view = view if view is not None else NoView()
        self.terms = TermList(terms, self.supervised)
        for term in self.terms:
            term.use_teacher(self.teacher_probs)
            term.join_teacher(self.teacher)
        self.source_style = source_style
        # Where pseudo-labels come from; two coupled groups exchange theirs here.
        self.label_route: Callable[[Unlabelled], PseudoLabel] = self.label_target

    def begin(self) -> None:
        """Tell the terms that an iteration starts."""
        self.terms.begin(self.student)

    def update_teacher(self) -> None:
        """Move the teacher towards the student of the last iteration."""
        self.teacher.update(self.student)

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """Source, mixed, and the passes of the terms."""
        source, target = batch.source, batch.target
        if target is None:
            raise ValueError("SelfTraining needs target images, but the batch has none.")
        source = self.styled(source, target)
        # Each pass is made where it is yielded, so that its graph is gone before the next one.
        yield self.source_pass(source)
        pseudo = self.label_route(target)
        mixed = self.mix(source, target, pseudo)
        yield self.mixed_pass(mixed, pseudo)
        for term in self.terms:
            yield from term.passes(self.student_pass, batch, pseudo)
        self.show(
            source_image=source.image,
            source_label=source.label,
            target_image=target.image,
            pseudo_label=pseudo.label,
            pseudo_weight=pseudo.weight,
            mixed_image=mixed.image,
            mixed_label=mixed.label,
            mixed_weight=mixed.weight,
        )

    def styled(self, source: Labelled, target: Unlabelled) -> Labelled:
        """The source images as they are learnt from and pasted."""
        if self.source_style is None:
            return source
        image = self.source_style.transfer(source.image, target.image)
        return Labelled(image.to(source.image.dtype), source.label)

    def teacher_probs(self, image: Tensor) -> Tensor:
        """The probabilities of the teacher, for terms that want them."""
        probs: Tensor = self.teacher.predict(image)
        return probs

    def source_pass(self, source: Labelled) -> Pass:
        """The student on source images, with their labels."""
        watching.source_labels(source.label)
        output = self.student_pass(source.image)
        losses = self.supervised(output, source.label)
        losses.update(self.terms.source_losses(output, source))
        return Pass("source", losses, {"accuracy": pixel_accuracy(output.logits, source.label)})

    def mix(self, source: Labelled, target: Unlabelled, pseudo: PseudoLabel) -> Mixed:
        """Mixed images as the student sees them."""
        with watching.phase("mixing"):
            mixed: Mixed = self.mixer(source, target, pseudo)
            self.terms.add_teacher(mixed, self.teacher)
            mixed.image = self.view(mixed.image)
        return mixed

    def mixed_pass(self, mixed: Mixed, pseudo: PseudoLabel) -> Pass:
        """The student on mixed images; `pseudo` is what they were made of, for the log."""
        output = self.student_pass(mixed.image)
        watching.answers(output.logits, mixed.label, mixed.mask)
        losses = self.supervised(output, mixed.label, mixed.weight)
        losses.update(self.terms.mixed_losses(output, mixed))
        metrics = {
            "accuracy": pixel_accuracy(output.logits, mixed.label),
            "pseudo_weight": pseudo.weight.mean(),
            "confidence": pseudo.confidence.mean(),
            "largest_class": largest_class_share(pseudo),
        }
        return Pass("mixed", losses, metrics)

    def label_target(self, target: Unlabelled) -> PseudoLabel:
        """What this method's own teacher and selector make of the target images."""
        probs = self.teacher_probs(target.image)
        with watching.phase("selector"):
            pseudo: PseudoLabel = self.selector(probs, target.valid)
        watching.pseudo_labels(pseudo, probs, target.valid)
        return pseudo

    def initialise(self) -> None:
        """Start the teacher, and what the terms keep, from the freshly loaded student."""
        self.teacher.copy_from(self.student)
        self.terms.bind(self.student)

    def networks(self) -> dict[str, nn.Module]:
        """Student and teacher."""
        return {"student": self.student, "teacher": self.teacher.network}
