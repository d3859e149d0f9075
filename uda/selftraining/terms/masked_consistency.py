"""Masked image consistency: the student fills in what it does not see (MIC)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from uda import watching
from uda._token_masking import masking_tokens
from uda.losses import pixel_accuracy
from uda.selftraining.masks import BlockMask
from uda.selftraining.selectors import Selector
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.teacher_pair import check_teachers
from uda.selftraining.terms.base import Pass, Supervised, Term
from uda.selftraining.views import NoView, View
from uda.structures import Batch, NetworkOutput, PseudoLabel, Unlabelled

Images = Literal["target", "halves", "source"]
Scaled = Literal["all", "main"]
Hide = Literal["blocks", "tokens"]


class Lesson(NamedTuple):
    """What is learnt in the masked pass.

    Attributes:
        image: (N, 3, H, W), not masked yet.
        label: (N, H, W) int64; 255 is ignored.
        weight: (N, H, W); None: 1 everywhere.
    """

    image: Tensor
    label: Tensor
    weight: Tensor | None


class MaskedConsistency(Term):
    """A pass over masked images: the student predicts what hidden blocks show from the rest.

    `weight * mean(q CE(f(m * x), y))`, with x the image after the strong view, m a mask of blocks
    (`BlockMask`), y the label of the whole image and q its weight (Hoyer et al., MIC: Masked Image
    Consistency, CVPR 2023; `masking_consistency_module.py`). The mask is put on the normalised
    image after the view, one mask an image. Source images are those of the batch, also where the
    method gives them the style of the target.

    Labels and weights of target images are those that the method learns its mixed images from; no
    teacher runs a second time. With `teacher` and `selector` the term has a teacher of its own
    (reference: when decay or threshold differ from the host's), which also serves methods without
    one: `SourceOnly` and `AdversarialWarmUp`. It moves towards the student once at the start of
    each iteration, with a look-ahead towards the real student; its state is saved with the run.

    | `images` | masked | released names |
    | --- | --- | --- |
    | `"target"` | all target images | `separatetrg`, with a view `separatetrgaug` |
    | `"halves"` | first half of the source, first half of the target | `separate`, `separateaug` |
    | `"source"` | all source images, with their labels | `separatesrc`, `separatesrcaug` |

    Published settings: `"target"` with `ColorJitterBlur` for GTA and SYNTHIA -> Cityscapes,
    `"halves"` without a view for Cityscapes -> ACDC and Dark Zurich.

    Args:
        images: Which images are masked, see above. `"halves"` is written for batches of exactly
            two in the released code; here for any even number.
        view: The strong view before masking, with draws of its own; None leaves colours.
        hide: `"blocks"` of the image (MIC, VFM-UDA++), or `"tokens"` of the encoder: patch
            embeddings give way to a learnt token (VFM-UDA), which needs a `FoundationEncoder` with
            `token_masking=True`. The image is whole then, and `block_size` is not used.
        block_size: See `BlockMask`; 64 for crops of 1024, 32 for crops of 512.
        ratio: Expected share that is hidden, see `BlockMask` and `masking_tokens`.
        weight: Weight of the loss, the released code's `mask_lambda`.
        scaled: What `weight` multiplies. `"all"` (clean): every loss of the pass. `"main"`
            (reference): `ce` alone; auxiliary heads and HRDA's detail loss keep weight 1. With
            `weight=1`, as published, both are the same.
        teacher: An own teacher, made from the same student. `EMATeacher(decay=0)` is a copy of the
            student of the last iteration.
        selector: Weighs the own teacher's labels. The released code's threshold None, weight 1
            everywhere, is `ConfidenceShare(threshold=0.0)`.

    Raises:
        ValueError: A setting is unknown or outside its range, or only one of `teacher` and
            `selector` is given, or they label no image; when the student is known: it cannot hide
            tokens.
    """

    name = "masked"

    def __init__(
        self,
        *,
        images: Images = "target",
        view: View | None = None,
        hide: Hide = "blocks",
        block_size: int = 64,
        ratio: float = 0.7,
        weight: float = 1.0,
        scaled: Scaled = "all",
        teacher: EMATeacher | None = None,
        selector: Selector | None = None,
    ) -> None:
        super().__init__()
        for key, value, known in (
            ("images", images, get_args(Images)),
            ("scaled", scaled, get_args(Scaled)),
            ("hide", hide, get_args(Hide)),
        ):
            if value not in known:
                raise ValueError(f"{key} has to be one of {list(known)}, not {value!r}.")
        if weight < 0:
            raise ValueError(f"weight has to be at least 0, not {weight}.")
        _check_own(images, teacher, selector)
        self.images, self.weight, self.scaled = images, weight, scaled
        self.view = view if view is not None else NoView()
        self.hide, self.ratio = hide, ratio
        self.mask: nn.Module = BlockMask(block_size=block_size, ratio=ratio)
        self.teacher, self.selector = teacher, selector
        self.needs_teacher = images != "source" and teacher is None
        self._supervised: Supervised | None = None
        self._student: tuple[nn.Module, ...] = ()  # in a tuple, so that it is no part of this one

    def bind(self, student: nn.Module) -> None:
        """Start the own teacher from the student; find its tokens, where they are hidden."""
        if self.hide == "tokens":
            masking_tokens(student, self.ratio)  # refuses a student that has none
            self._student = (student,)
        if self.teacher is not None:
            self.teacher.copy_from(student)

    def begin(self, student: nn.Module) -> None:
        """Move the own teacher towards the student of the last iteration."""
        if self.teacher is not None:
            self.teacher.update(student)

    def use_supervision(self, supervised: Supervised) -> None:
        """Take the method's losses of an output, a label and weights."""
        self._supervised = supervised

    def passes(
        self,
        student: Callable[[Tensor], NetworkOutput],
        batch: Batch,
        pseudo: PseudoLabel,
    ) -> Iterator[Pass]:
        """One pass over masked images."""
        # Made where it is yielded, so that nothing here holds on to its graph.
        yield self._masked_pass(student, self.lesson(batch, pseudo))

    def lesson(self, batch: Batch, pseudo: PseudoLabel) -> Lesson:
        """The images to mask, with label and weight.

        Args:
            batch: Of the iteration.
            pseudo: The method's labels of the target images; not looked at with an own teacher.

        Raises:
            ValueError: Target images are missing, or their number cannot be halved.
        """
        source = batch.source
        if self.images == "source":
            return Lesson(source.image, source.label, None)
        if batch.target is None:
            raise ValueError(
                f'MaskedConsistency(images="{self.images}") needs target images, but the batch has '
                'none: give train_dataloader.dataset a target, or set images="source".'
            )
        target, pseudo = batch.target, self._labelled(batch.target, pseudo)
        if self.images == "target":
            return Lesson(target.image, pseudo.label, pseudo.weight)
        count = len(target.image)
        if count % 2:
            raise ValueError(
                f'MaskedConsistency(images="halves") takes half of the source and half of the '
                f"target images; a batch of {count} cannot be halved: set "
                "train_dataloader.batch_size to an even number."
            )
        half = count // 2
        weight = pseudo.weight[:half]
        return Lesson(
            torch.cat([source.image[:half], target.image[:half]]),
            torch.cat([source.label[:half], pseudo.label[:half]]),
            torch.cat([torch.ones_like(weight), weight]),
        )

    def _labelled(self, target: Unlabelled, pseudo: PseudoLabel) -> PseudoLabel:
        """The method's labels of the target images, or those of the own teacher."""
        if self.teacher is None or self.selector is None:
            return pseudo
        probs = self.teacher.predict(target.image)
        own: PseudoLabel = self.selector(probs, target.valid)
        with watching.group(self.name):
            watching.pseudo_labels(own, probs, target.valid)
        return own

    def _masked_pass(self, student: Callable[[Tensor], NetworkOutput], lesson: Lesson) -> Pass:
        if self._supervised is None:
            raise RuntimeError(
                "MaskedConsistency does not know the losses of a pass yet: use it as a term of a "
                "method, or call `use_supervision` with a function of output, label and weight."
            )
        output = self._seen(student, self.view(lesson.image))
        losses = self._supervised(output, lesson.label, lesson.weight)
        if self.weight != 1:
            losses = {
                name: loss if self.scaled == "main" and name != "ce" else self.weight * loss
                for name, loss in losses.items()
            }
        metrics = {"accuracy": pixel_accuracy(output.logits, lesson.label)}
        if lesson.weight is not None:
            metrics["weight"] = lesson.weight.mean()
        return Pass(self.name, losses, metrics)

    def _seen(self, student: Callable[[Tensor], NetworkOutput], image: Tensor) -> NetworkOutput:
        """What the student makes of the part that is not hidden."""
        if self.hide == "blocks":
            return student(self.mask(image))
        if not self._student:
            raise RuntimeError(
                'MaskedConsistency(hide="tokens") does not know the student yet: use it as a term '
                "of a method, or call `bind` with the network."
            )
        with masking_tokens(self._student[0], self.ratio):
            return student(image)


def _check_own(images: Images, teacher: EMATeacher | None, selector: Selector | None) -> None:
    if (teacher is None) != (selector is None):
        given, missing = ("selector", "teacher") if teacher is None else ("teacher", "selector")
        raise ValueError(
            f"MaskedConsistency has a {given} of its own and no {missing}: give both, or neither "
            "to learn from the labels of the method."
        )
    if teacher is None or selector is None:
        return
    if images == "source":
        raise ValueError(
            'MaskedConsistency(images="source") learns from the labels of the source; its teacher '
            "would label nothing: leave teacher and selector out."
        )
    check_teachers(teacher, selector)
