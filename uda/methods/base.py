"""What all methods share: passes of the student, and one optimiser step over them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from uda import watching
from uda.losses import weighted_cross_entropy
from uda.losses.cross_entropy import Average
from uda.selftraining.look_ahead import LookAhead
from uda.selftraining.teacher import EMATeacher
from uda.selftraining.terms import Pass, Term
from uda.structures import IGNORE_INDEX, Batch, NetworkOutput, PseudoLabel, as_output

Backward = Literal["each", "joint"]


class Optimiser(Protocol):
    """What a method needs of an optimiser; `PlainOptimiser` makes one of torch's.

    Attributes:
        optimiser: The torch optimiser, whose state a look-ahead may have to put back.
    """

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """The torch optimiser."""

    def zero_grad(self) -> None:
        """Forget all gradients."""

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`, scaled if the precision asks for it."""

    def step(self) -> None:
        """Move the weights."""

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which forward passes run."""


class PlainOptimiser:
    """A torch optimiser with the interface a method needs.

    Args:
        optimiser: Any torch optimiser over the student's parameters.
        autocast: Makes the context for forward passes, such as
            `lambda: torch.autocast("cuda", torch.bfloat16)`; None computes in full precision.
        opponents: Optimisers of the networks in `Method.opponents`, by name.
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        *,
        autocast: Callable[[], AbstractContextManager[object]] | None = None,
        opponents: Mapping[str, Optimiser] | None = None,
    ) -> None:
        self._optimiser = optimiser
        self.opponents = dict(opponents or {})
        self._autocast = autocast or contextlib.nullcontext

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """The torch optimiser."""
        return self._optimiser

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self.optimiser.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`."""
        loss.backward()

    def step(self) -> None:
        """Move the weights."""
        self.optimiser.step()

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which forward passes run."""
        return self._autocast()


class Method(nn.Module):
    """A training step over one batch. A subclass writes `passes`.

    Args:
        student: The network to train. It returns logits at the size of the image, or a
            `NetworkOutput` with its features.
        backward: `"each"`: a backward pass after every forward pass (lowest memory, reference).
            `"joint"`: one for the sum of all losses; same gradient, more memory.
        average: What cross-entropies are divided by: `"all"` pixels (reference) or the `"valid"`
            ones that carry a label (clean). See `weighted_cross_entropy`.

    Attributes:
        visuals: None, or a dict that the next step fills with tensors worth a look.
        look_ahead: None, or what moves the teacher by virtual steps before each real one; see
            `use_look_ahead`.
    """

    def __init__(
        self, *, student: nn.Module, backward: Backward = "each", average: Average = "all"
    ) -> None:
        super().__init__()
        if backward not in ("each", "joint"):
            raise ValueError(f'backward has to be "each" or "joint", not {backward!r}.')
        self.student = student
        if average not in ("all", "valid"):
            raise ValueError(f'average has to be "all" or "valid", not {average!r}.')
        self.backward = backward
        self.average = average
        self.visuals: dict[str, Tensor] | None = None
        self.look_ahead: LookAhead | None = None

    def use_look_ahead(self, look_ahead: LookAhead) -> None:
        """Move the teacher by virtual steps from now on (FST); in a config the key `look_ahead`.

        Raises:
            ValueError: The method has no teacher of its own that could look ahead, or its student
                has an opponent.
        """
        if not isinstance(getattr(self, "teacher", None), EMATeacher):
            raise ValueError(
                f"{type(self).__name__} has no EMATeacher of its own, so there is nothing that a "
                "look-ahead could move: remove look_ahead, or give it to a method or group with a "
                "teacher, such as SelfTraining."
            )
        if self.opponents():
            raise ValueError(
                f"A look-ahead makes virtual steps of the student, and {sorted(self.opponents())} "
                "would learn from them for good: remove look_ahead, or the term with an opponent."
            )
        # Without virtual steps the method is itself, also where its teacher follows elsewhere.
        self.look_ahead = look_ahead if look_ahead.steps > 0 else None

    @property
    def further_batches(self) -> int:
        """How many further batches `training_step` wants in each iteration."""
        return 0 if self.look_ahead is None else self.look_ahead.further_batches

    def passes(self, batch: Batch) -> Iterator[Pass]:
        """The student's forward passes, each with its losses, in the order they are run."""
        raise NotImplementedError(f"{type(self).__name__} has to define `passes`.")

    def begin(self) -> None:
        """What happens at the start of an iteration, before any pass."""

    def update_teacher(self) -> None:
        """Move the teacher towards the student; a look-ahead does this in its own way instead."""

    def initialise(self) -> None:
        """Copy what has to start equal to the student; call once its weights are loaded."""

    def init_weights(self) -> None:
        """Load or draw the initial weights of all that is trained, then `initialise`."""
        cast(Any, self.student).init_weights()
        self.initialise()

    def heads(self) -> dict[str, nn.Module]:
        """Networks of the terms that learn with the student, such as a projection, by name.

        Raises:
            ValueError: Two terms have a head of the same name.
        """
        found: dict[str, nn.Module] = {}
        for term in (module for module in self.modules() if isinstance(module, Term)):
            for name, head in term.heads().items():
                if name in found:
                    raise ValueError(
                        f"Two terms have a head called {name!r}, and would overwrite each other in "
                        "the log: remove one, or give it a class with another `name`."
                    )
                found[name] = head
        return found

    def trained(self) -> nn.Module:
        """The module whose parameters the optimiser moves: the student, and heads of the terms."""
        heads = self.heads()
        if not heads:
            return self.student
        return nn.ModuleDict({"student": self.student, "heads": nn.ModuleDict(heads)})

    def networks(self) -> dict[str, nn.Module]:
        """The networks that can be evaluated, by name."""
        return {"student": self.student}

    def opponents(self) -> dict[str, nn.Module]:
        """Networks of the terms that learn against the student, such as a discriminator."""
        terms = (module for module in self.modules() if isinstance(module, Term))
        return {name: network for term in terms for name, network in term.opponents().items()}

    def training_step(
        self, batch: Batch, optimiser: Optimiser, further: Iterable[Batch] = ()
    ) -> dict[str, Tensor]:
        """One iteration: the teacher, then the passes, their gradients and one optimiser step.

        Args:
            batch: Images and labels on the device of the student.
            optimiser: Holds the student's parameters; its `opponents` those of `opponents`.
            further: `further_batches` batches beside it, taken one by one when they are needed.

        Returns:
            What is logged: "pass/loss" and metrics, scalars without gradient, still on the device.

        Raises:
            ValueError: There are fewer further batches than the look-ahead needs.
        """
        self.begin()
        if self.look_ahead is None:
            self.update_teacher()
            return self.step(batch, optimiser)
        return self.look_ahead(
            lambda seen: self.step(seen, optimiser),
            batch,
            student=self.student,
            teacher=cast(EMATeacher, self.teacher),
            optimiser=optimiser.optimiser,
            owner=self,
            trained=self.trained(),
            further=further,
        )

    def step(self, batch: Batch, optimiser: Optimiser) -> dict[str, Tensor]:
        """The passes over a batch, their gradients, and one optimiser step.

        A look-ahead runs it several times in an iteration.
        """
        everyone = [optimiser, *(opponent(optimiser, name) for name in self.opponents())]
        with watching.phase("optimiser"):
            for one in everyone:
                one.zero_grad()
        log = accumulate(self.passes(batch), optimiser, backward=self.backward)
        with watching.phase("optimiser"):
            for one in everyone:
                one.step()
        return log

    def student_pass(self, image: Tensor) -> NetworkOutput:
        """Logits and features of the student for `image` (N, 3, H, W)."""
        return as_output(self.student(image))

    def supervised(
        self, output: NetworkOutput, label: Tensor, weight: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Cross-entropy of the logits and, where the network has them, of further ones.

        Those are auxiliary heads, and regions of the images with the label and weight there; the
        logits of the images then have `output.share` of the loss.
        """

        def cross_entropy(logits: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
            # Half precision is not enough for a loss; double precision is kept.
            full = logits if logits.dtype == torch.float64 else logits.float()
            return weighted_cross_entropy(full, label, weight, average=self.average)

        losses = {"ce": cross_entropy(output.logits, label, weight)}
        if output.share != 1:
            losses["ce"] = output.share * losses["ce"]
        for number, (logits, share) in enumerate(output.auxiliary):
            losses[f"auxiliary{number}"] = share * cross_entropy(logits, label, weight)
        for region in output.regions:
            inside = None if weight is None else region.box.cut(weight)
            loss = cross_entropy(region.logits, region.box.cut(label), inside)
            losses[region.name] = region.weight * loss
        return losses

    def show(self, **tensors: Tensor) -> None:
        """Keep tensors for the image log, if one was asked for in this iteration."""
        if self.visuals is not None:
            self.visuals.update({name: tensor.detach() for name, tensor in tensors.items()})


def check_no_teacher(method: Method, terms: Iterable[Term]) -> None:
    """Raise if a term learns from the teacher of a method that has none.

    Args:
        method: The method.
        terms: Its terms.

    Raises:
        ValueError: Names the term.
    """
    for term in terms:
        if term.needs_teacher:
            name = type(method).__name__
            raise ValueError(
                f"{type(term).__name__} learns from a teacher's predictions, and {name} has no "
                "teacher: use SelfTraining, give the term a teacher of its own if it takes one, or "
                "leave it out."
            )


def unlabelled(image: Tensor) -> PseudoLabel:
    """Pseudo-labels that say nothing, where nobody labels the target.

    Args:
        image: (N, 3, H, W).
    """
    nothing = torch.zeros_like(image[:, 0])
    return PseudoLabel(nothing.long() + IGNORE_INDEX, nothing, nothing)


def opponent(optimiser: Optimiser, name: str) -> Optimiser:
    """The optimiser of an opponent.

    Args:
        optimiser: The student's; those of opponents are its attribute `opponents`, by name.
        name: Of the opponent, see `Method.opponents`.

    Raises:
        ValueError: There is none of that name.
    """
    found: Optimiser | None = getattr(optimiser, "opponents", {}).get(name)
    if found is None:
        raise ValueError(
            f"The method trains a {name}, which needs an optimiser of its own: in a config "
            f"optim_wrapper=dict(opponents=dict({name}=dict(type='Adam', lr=1e-4))), in your own "
            f"loop PlainOptimiser(..., opponents={{{name!r}: PlainOptimiser(...)}})."
        )
    return found


def accumulate(
    passes: Iterator[Pass], optimiser: Optimiser, *, backward: Backward
) -> dict[str, Tensor]:
    """Run the passes and add up their gradients.

    A generator's body runs while it is asked for its next item, so the forward passes, and only
    they, run in the optimiser's autocast context.

    Args:
        passes: A generator of student passes.
        optimiser: Gets the gradients.
        backward: `"each"` pass or `"joint"`.

    Returns:
        All losses and metrics as "pass/name", without gradient, and the sum of the student's as
        "loss".
    """
    log: dict[str, Tensor] = {}
    totals: list[Tensor] = []
    while True:
        with optimiser.autocast():
            done = next(passes, None)
        if done is None:
            break
        total = torch.stack(list(done.losses.values())).sum()
        if done.opponent is not None:  # a graph of its own, whatever `backward` says
            opponent(optimiser, done.opponent).backward(total)
        else:
            if backward == "each":
                optimiser.backward(total)
            totals.append(total if backward == "joint" else total.detach())
        for name, value in (*done.losses.items(), *done.metrics.items()):
            log[f"{done.name}/{name}"] = value.detach()
        watching.lap(done.name)
        # Let go of the graph before the next pass builds its own.
        del done, total
    if not totals:
        raise RuntimeError("The method made no pass, so there is nothing to learn from.")
    summed = torch.stack(totals).sum()
    if backward == "joint":
        optimiser.backward(summed)
        watching.lap("backward")
    log["loss"] = summed.detach()
    return log
