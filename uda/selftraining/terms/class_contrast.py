"""SePiCo: pixels near to what is known of their class, in three variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from uda.losses import bank_contrast, downscale_label, prototype_contrast, prototype_evenness
from uda.selftraining.class_statistics import ClassBank, ClassStatistics
from uda.selftraining.counter import Counter
from uda.selftraining.projection import ProjectionHead, flattened
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.terms.base import Pass, Term
from uda.selftraining.views import NoView, View
from uda.selftraining.views.base import without_autocast
from uda.structures import IGNORE_INDEX, Batch, Labelled, Mixed, NetworkOutput, PseudoLabel

Kind = Literal["distribution", "bank", "prototype"]
Features = Literal["teacher", "student"]
Adapted = Literal["target", "mixed", "none"]
Unseen = Literal["left_out", "zero"]
Regulariser = Literal["even", "leaning", "none"]


class ClassContrast(Term):
    """Projected features of both domains are drawn to the source's prototype of their class.

    Xie et al., SePiCo: Semantic-Guided Pixel Contrast, TPAMI 2023, arXiv 2204.08808. One iteration:

    1. the statistics of each class take in the source features of the teacher and of its average
       of the projection (`ClassStatistics`, for `"bank"` also `ClassBank`);
    2. `weight * contrast` joins the source pass, with the labels;
    3. the same, in a pass of its own over strongly changed target images, with the pseudo-labels
       of non-zero weight.

    `contrast` is DistCL (`prototype_contrast` with variances), BankCL (`bank_contrast`) or ProtoCL
    (`prototype_contrast` without variances), and from each `prototype_evenness` is subtracted.
    Labels are those that hold `min_share` of the block behind a position.

    The average of the projection moves with the teacher; the projection learns with the student's
    optimiser.

    Args:
        num_classes: K.
        channels: Width of each feature map that is read: (64, 128, 320, 512) for MiT-B5.
        levels: Which maps those are, see `ProjectionHead`.
        kind: `"distribution"` (DistCL), `"bank"` (BankCL) or `"prototype"` (ProtoCL).
        size: Length of the projected features.
        hidden: Width inside the projection; None: the mean width of the maps.
        norm: See `ProjectionHead`.
        weight: Weight of each loss.
        temperature: See `prototype_contrast`.
        min_share: See `downscale_label`.
        memory: Means that the bank keeps of each class.
        regulariser: `"even"` (clean): draws the mean feature to where it is equally near to all
            prototypes. `"leaning"` (reference): the opposite sign, as the released code has it.
            `"none"`.
        unseen: What a class without any source pixel yet is to the others: `"left_out"` (clean), or
            a prototype or bank entry of `"zero"` (reference).
        statistics: Whose source features make the statistics: the `"teacher"`'s (reference), at
            the cost of another pass of the teacher, or the `"student"`'s own.
        adapted: What is contrasted beside the source: `"target"` images in a pass of their own
            (reference), `"mixed"` images in the pass they have anyway, or `"none"`.
        view: Changes the colours of the target images; None leaves them. The released code also
            changes those of the source images.
        start: Iterations before the losses begin; statistics are taken from the first one on.

    Raises:
        ValueError: A setting is unknown or outside its range.
    """

    name = "class_contrast"

    def __init__(
        self,
        *,
        num_classes: int,
        channels: Sequence[int],
        levels: Sequence[int] = (-1,),
        kind: Kind = "distribution",
        size: int = 512,
        hidden: int | None = None,
        norm: bool = True,
        weight: float = 1.0,
        temperature: float = 100.0,
        min_share: float = 0.75,
        memory: int = 200,
        regulariser: Regulariser = "even",
        unseen: Unseen = "left_out",
        statistics: Features = "teacher",
        adapted: Adapted = "target",
        view: View | None = None,
        start: int = 3000,
    ) -> None:
        super().__init__()
        for key, value, known in (
            ("kind", kind, Kind),
            ("regulariser", regulariser, Regulariser),
            ("unseen", unseen, Unseen),
            ("statistics", statistics, Features),
            ("adapted", adapted, Adapted),
        ):
            _check_known(key, value, get_args(known))
        if not temperature > 0 or not 0 <= min_share <= 1 or start < 0:
            raise ValueError(
                "temperature has to be above 0, min_share in [0, 1] and start at least 0, not "
                f"{temperature}, {min_share} and {start}."
            )
        self.num_classes, self.kind, self.weight = num_classes, kind, weight
        self.temperature, self.min_share, self.start = temperature, min_share, start
        self.sign = {"even": -1.0, "leaning": 1.0, "none": 0.0}[regulariser]
        self.unseen, self.adapted = unseen, adapted
        self.needs_teacher = statistics == "teacher"
        self.view = view if view is not None else NoView()
        if hidden is None:
            hidden = sum(channels) // max(len(channels), 1)
        self.projection = ProjectionHead(
            channels=channels, levels=levels, hidden=hidden, size=size, norm=norm, last="norm_relu"
        )
        self.statistics = ClassStatistics(num_classes=num_classes, size=size)
        self.bank: ClassBank | None = None
        if kind == "bank":
            self.bank = ClassBank(
                num_classes=num_classes, size=size, length=memory, start=unseen == "zero"
            )
        self.counter = Counter()
        # In a tuple, so that it is not registered: the method holds the teacher.
        self._teacher: tuple[EMATeacher] | None = None
        self._has_source = False

    def heads(self) -> dict[str, nn.Module]:
        """The projection."""
        return {self.name: self.projection}

    def join_teacher(self, teacher: EMATeacher) -> None:
        """Let the teacher average the projection."""
        if self.needs_teacher:
            teacher.add_head(self.name, self.projection)
            self._teacher = (teacher,)

    def begin(self, student: nn.Module) -> None:
        """Count an iteration."""
        self.counter.count()
        self._has_source = False

    @property
    def has_begun(self) -> bool:
        """Whether the losses are on in this iteration."""
        return max(self.counter.value - 1, 0) >= self.start

    def source_loss(self, output: NetworkOutput, source: Labelled) -> Tensor | None:
        """Take in the statistics of the batch; the weighted contrast, or None before `start`."""
        features = self.projection(output)
        label = self.positions(source.label, features)
        self._has_source = True
        known = self._known(source.image, features)
        with without_autocast(known.device.type):
            means, present = self.statistics.update(known, label)
        if self.bank is not None:
            self.bank.add(means, present)
        return self.contrast(features, label) if self.has_begun else None

    def mixed_loss(self, output: NetworkOutput, mixed: Mixed) -> Tensor | None:
        """The weighted contrast of mixed images, if they are to be contrasted."""
        self._check_source()
        if self.adapted != "mixed" or not self.has_begun:
            return None
        features = self.projection(output)
        label = mixed.label.masked_fill(mixed.weight == 0, IGNORE_INDEX)
        return self.contrast(features, self.positions(label, features))

    def passes(
        self,
        student: Callable[[Tensor], NetworkOutput],
        batch: Batch,
        pseudo: PseudoLabel,
    ) -> Iterator[Pass]:
        """A pass over the target images, if they are to be contrasted."""
        if self.adapted != "target" or not self.has_begun:
            return
        self._check_source()
        if batch.target is None:
            raise ValueError(
                'ClassContrast(adapted="target") needs target images; this batch has none: give '
                'train_dataloader.dataset a target, or set adapted="none".'
            )
        label = pseudo.label.masked_fill(pseudo.weight == 0, IGNORE_INDEX)
        yield Pass("target", {self.name: self._target_loss(student, batch.target.image, label)})

    def _target_loss(
        self, student: Callable[[Tensor], NetworkOutput], image: Tensor, label: Tensor
    ) -> Tensor:
        features = self.projection(student(self.view(image)))
        return self.contrast(features, self.positions(label, features))

    def contrast(self, features: Tensor, label: Tensor) -> Tensor:
        """The weighted contrast with its regulariser; a scalar, 0 where no position counts.

        Args:
            features: (N, C, h, w), projected.
            label: (N h w,) int64 of the positions.
        """
        # Half precision would not tell one class from another at a high temperature.
        with without_autocast(features.device.type):
            return self.weight * self._contrast(flattened(features), label)

    def _contrast(self, flat: Tensor, label: Tensor) -> Tensor:
        means = self.statistics.means.to(flat.dtype)
        seen = self.statistics.seen if self.unseen == "left_out" else None
        if self.bank is not None:
            entries = self.bank.entries.to(flat.dtype)
            loss = bank_contrast(
                flat, label, entries, self.bank.filled, temperature=self.temperature
            )
        else:
            variances = self.statistics.variances.to(flat.dtype)
            loss = prototype_contrast(
                flat,
                label,
                means,
                variances if self.kind == "distribution" else None,
                seen=seen,
                temperature=self.temperature,
            )
        if self.sign:
            loss = loss + self.sign * prototype_evenness(
                flat, label, means, seen=seen, temperature=self.temperature
            )
        return loss

    def positions(self, label: Tensor, features: Tensor) -> Tensor:
        """The class of each position of a map, (N h w,), 255 where no class holds enough of it."""
        height, width = features.shape[2:]
        return downscale_label(
            label, (height, width), num_classes=self.num_classes, min_share=self.min_share
        ).flatten()

    def _known(self, image: Tensor, features: Tensor) -> Tensor:
        """The features (P, C) of which statistics are taken."""
        if not self.needs_teacher:
            return flattened(features.detach())
        if self._teacher is None:
            raise RuntimeError(
                "ClassContrast takes its statistics from a teacher and has none: use it with "
                'SelfTraining, or set statistics="student".'
            )
        (teacher,) = self._teacher
        with torch.no_grad():
            return flattened(teacher.heads[self.name](teacher.output(image)))

    def _check_source(self) -> None:
        if not self._has_source:
            raise ValueError(
                "ClassContrast needs a source pass before, for the statistics of the classes; "
                "this method or group has none: use SelfTraining, or secondary_source=True."
            )


def _check_known(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{key} has to be one of {list(known)}, not {value!r}.")
