"""Where a term can join the training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, cast

from torch import Tensor, nn

from uda import watching
from uda.selftraining.teacher import EMATeacher
from uda.structures import Batch, Labelled, Mixed, NetworkOutput, PseudoLabel

# Losses by name of an output with its label and, if not all pixels count alike, their weights.
Supervised = Callable[[NetworkOutput, Tensor, Tensor | None], dict[str, Tensor]]


class Pass(NamedTuple):
    """One forward pass of the student and what is to be minimised after it.

    Attributes:
        name: What the student saw: "source", "mixed" ...
        losses: Scalars with gradient; their sum is minimised.
        metrics: Scalars that are only logged.
        opponent: Name of the opponent that minimises the losses; None: the student does.
    """

    name: str
    losses: dict[str, Tensor]
    metrics: Mapping[str, Tensor] = {}
    opponent: str | None = None


class Term(nn.Module):
    """A further loss. A subclass overrides the places it joins; the others add nothing.

    Attributes:
        name: Key of its loss in the log.
        needs_teacher: Whether it is of no use in a method without a teacher.
        needs_mixed_probs: Whether it reads the teacher's probabilities of mixed images.
    """

    name = "term"
    needs_teacher = False
    needs_mixed_probs = False

    def bind(self, student: nn.Module) -> None:
        """Take what the term needs of the freshly initialised student, before training."""

    def opponents(self) -> dict[str, nn.Module]:
        """Networks that learn against the student, each with an optimiser of its own, by name."""
        return {}

    def heads(self) -> dict[str, nn.Module]:
        """Networks that learn with the student, such as a projection of its features, by name.

        They are trained by the student's optimiser, saved with the term, and neither evaluated nor
        deployed.
        """
        return {}

    def join_teacher(self, teacher: EMATeacher) -> None:
        """Take the teacher itself, for its features or an average of a head (`add_head`)."""

    def use_teacher(self, predict: Callable[[Tensor], Tensor]) -> None:
        """Take the function that gives a teacher's probabilities, if the term needs one."""

    def use_supervision(self, supervised: Supervised) -> None:
        """Take the function that gives the supervised losses of a pass, if the term needs one."""

    def begin(self, student: nn.Module) -> None:
        """What happens at the start of an iteration; virtual steps of a look-ahead are none."""

    def source_loss(self, output: NetworkOutput, source: Labelled) -> Tensor | None:
        """A scalar from the student's source pass, or None."""
        return None

    def mixed_loss(self, output: NetworkOutput, mixed: Mixed) -> Tensor | None:
        """A scalar from the student's pass over mixed images, or None."""
        return None

    def passes(
        self,
        student: Callable[[Tensor], NetworkOutput],
        batch: Batch,
        pseudo: PseudoLabel,
    ) -> Iterator[Pass]:
        """Further passes of the student; none by default."""
        return iter(())


class TermList(nn.ModuleList):
    """The terms of a method, in the order of its config.

    Args:
        terms: The terms.
        supervised: The method's function of that name, for terms with supervised passes.
    """

    def __init__(self, terms: Iterable[Term] = (), supervised: Supervised | None = None) -> None:
        super().__init__(terms)
        if supervised is not None:
            for term in self:
                term.use_supervision(supervised)

    def __iter__(self) -> Iterator[Term]:
        """Iterate over the terms."""
        return cast(Iterator[Term], super().__iter__())

    def source_losses(self, output: NetworkOutput, source: Labelled) -> dict[str, Tensor]:
        """What the terms add to the source pass, by name."""
        return self._losses(lambda term: term.source_loss(output, source))

    def add_teacher(self, mixed: Mixed, teacher: EMATeacher) -> None:
        """Let the teacher see the mixed images as they are now, if a term needs that."""
        if any(term.needs_mixed_probs for term in self):
            probs = teacher.predict(mixed.image)
            mixed.teacher_probs = probs.mean(0) if probs.dim() == 5 else probs  # two teachers

    def mixed_losses(self, output: NetworkOutput, mixed: Mixed) -> dict[str, Tensor]:
        """What the terms add to the pass over mixed images, by name."""
        return self._losses(lambda term: term.mixed_loss(output, mixed))

    def _losses(self, loss_of: Callable[[Term], Tensor | None]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for term in self:
            with watching.phase(term.name):
                loss = loss_of(term)
            if loss is not None:
                found[term.name] = loss
        return found

    def bind(self, student: nn.Module) -> None:
        """Give each term the freshly initialised student."""
        for term in self:
            term.bind(student)

    def begin(self, student: nn.Module) -> None:
        """Tell each term that an iteration starts."""
        for term in self:
            term.begin(student)
