"""Look-ahead (FST): the student of the future moves the teacher of the present."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from uda import watching
from uda.selftraining.snapshots import OptimiserSnapshot, RandomSnapshot, Snapshot
from uda.selftraining.teacher import EMATeacher

Mode = Literal["deep", "wide"]
Preset = Literal["clean", "reference", "semi_supervised"]
State = Literal["restore", "keep"]
RealStudent = Literal["none", "first", "last", "both"]
Ramp = Literal["iteration", "pass"]
Log = dict[str, Tensor]
Item = TypeVar("Item")
Step = Callable[[Item], Log]

_REAL_STUDENT: dict[Preset, dict[Mode, RealStudent]] = {
    "clean": {"deep": "none", "wide": "none"},
    "reference": {"deep": "first", "wide": "last"},
    "semi_supervised": {"deep": "both", "wide": "both"},
}


class LookAhead(nn.Module):
    """Moves the teacher towards students that are a few virtual steps ahead of the real one.

    "Learning from Future" (Du et al., NeurIPS 2022, arXiv 2209.06993), abstract and released code:
    the student steps tentatively, `theta' = theta - lr grad L(theta; phi)`; the teacher follows it,
    `phi <- a phi + (1 - a) theta'`; the student returns to `theta`, to the bit, and makes its real
    step with the pseudo-labels of the advanced teacher. `"deep"` (FST-D) repeats step and
    following K times along one path and one batch; `"wide"` (FST-W) takes N single steps from
    `theta`, each on a further batch, and the teacher follows their mean. The first iteration has
    no virtual step: the teacher copies the student before it, and follows it afterwards.

    It wraps the update of any method with an `EMATeacher`: in a config by the key `look_ahead` of
    the method, in one's own loop by calling it with a function that makes one step. It has no
    state of its own; the ramp's counter is the teacher's.

    Cost: K + 1 (N + 1) steps an iteration. Beside student and teacher it needs one copy of the
    trainable weights (deep) or two (wide), and with `optimiser_state="restore"` a copy of the
    optimiser's moments as well (two more for Adam). Activations need as much as one step.

    The presets differ where the released code does something else than the paper's equations.
    An option that is None takes the preset's value:

    | option | clean | reference | semi_supervised |
    | --- | --- | --- | --- |
    | `optimiser_state` | restore | keep | keep |
    | `buffers` | restore | keep | keep |
    | `random_state` | restore | keep | keep |
    | `real_student` | none | deep: first, wide: last | both |
    | `ramp` | iteration | pass | iteration |

    `reference` is the released adaptation code (`fst_d.py`, `fst_w.py`), `semi_supervised` the
    order of the released semi-supervised code (`train_semi.py`).

    Args:
        mode: `"deep"` or `"wide"`.
        steps: K or N; 3 in all released configs. 0 is the wrapped method itself.
        preset: What the options below are if they are None.
        optimiser_state: What becomes of moments and counters after virtual steps: `"restore"` or
            `"keep"`, as in the released code, where momentum and Adam's counter hold them.
        buffers: What becomes of BatchNorm's running statistics and all other buffers of the
            method, such as a selector's thresholds: `"restore"` or `"keep"`.
        random_state: `"restore"` gives the real step the draws of the virtual one (mixing masks,
            strong views, dropout); `"keep"` draws anew.
        real_student: When the teacher follows the real student too: `"first"`, before the virtual
            steps; `"last"`, after the real step; `"both"`, or `"none"`.
        ramp: What the warm-up of the teacher's decay counts: `"iteration"`s or forward-backward
            `"pass"`es, of which an iteration has K + 1.
        learning_rate: Factor on the scheduled learning rate in virtual steps, above 0.

    Raises:
        ValueError: An argument is outside its range.

    >>> student = nn.Linear(1, 1, bias=False)
    >>> nn.init.constant_(student.weight, 2.0).item()
    2.0
    >>> teacher = EMATeacher(student, decay=0.5)
    >>> sgd = torch.optim.SGD(student.parameters(), lr=0.5)
    >>> def step(target):
    ...     sgd.zero_grad()
    ...     loss = (student.weight - target).square().sum() / 2
    ...     loss.backward()
    ...     sgd.step()
    ...     return {"loss": loss.detach()}
    >>> look_ahead = LookAhead(steps=1)
    >>> for _ in range(2):  # the student goes 2, 1, 0.5
    ...     log = look_ahead(step, 0.0, student=student, teacher=teacher, optimiser=sgd)
    >>> student.weight.item(), teacher.network.weight.item()  # 0.5 * 1 + 0.5 * (virtual 0.5)
    (0.5, 0.75)
    """

    def __init__(
        self,
        *,
        mode: Mode = "deep",
        steps: int = 3,
        preset: Preset = "clean",
        optimiser_state: State | None = None,
        buffers: State | None = None,
        random_state: State | None = None,
        real_student: RealStudent | None = None,
        ramp: Ramp | None = None,
        learning_rate: float = 1.0,
    ) -> None:
        super().__init__()
        _check("mode", mode, ("deep", "wide"))
        _check("preset", preset, tuple(_REAL_STUDENT))
        if steps < 0:
            raise ValueError(f"steps is a number of virtual steps >= 0, not {steps}.")
        if not learning_rate > 0:
            raise ValueError(f"learning_rate is a factor above 0, not {learning_rate}.")
        kept: State = "restore" if preset == "clean" else "keep"
        self.mode, self.steps, self.learning_rate = mode, steps, learning_rate
        self.optimiser_state = optimiser_state or kept
        self.buffers_after = buffers or kept
        self.random_state = random_state or kept
        self.real_student = real_student or _REAL_STUDENT[preset][mode]
        self.ramp = ramp or ("pass" if preset == "reference" else "iteration")
        for name in ("optimiser_state", "buffers_after", "random_state"):
            _check(name.removesuffix("_after"), getattr(self, name), ("restore", "keep"))
        _check("real_student", self.real_student, ("none", "first", "last", "both"))
        _check("ramp", self.ramp, ("iteration", "pass"))

    @property
    def further_batches(self) -> int:
        """How many batches beside the real one an iteration needs: N if wide, else 0."""
        return self.steps if self.mode == "wide" else 0

    def forward(
        self,
        step: Step[Item],
        batch: Item,
        *,
        student: nn.Module,
        teacher: EMATeacher,
        optimiser: torch.optim.Optimizer,
        owner: nn.Module | None = None,
        trained: nn.Module | None = None,
        further: Iterable[Item] = (),
    ) -> Log:
        """One iteration of the wrapped update.

        Args:
            step: Makes one optimiser step of `student` on a batch, from forgetting old gradients
                to the step itself, and returns scalars to log, among them "loss".
            batch: The batch of the real step, and of all virtual ones if deep.
            student: The network that `step` moves.
            teacher: Its teacher, which `step` asks for labels.
            optimiser: What moves it.
            owner: A module that holds all else whose buffers `step` changes; None: the teacher.
            trained: All that `step` moves and virtual steps have to leave where it was: the student
                and what learns with it, such as heads of terms; None: the student.
            further: The batches of the virtual steps if wide; taken when they are needed.

        Returns:
            The log of the real step; "virtual/loss" is the mean loss of the virtual ones.

        Raises:
            ValueError: There are fewer further batches than virtual steps.
        """
        if self.steps == 0:
            teacher.update(student)
            return step(batch)
        losses: list[Tensor] = []
        first = teacher.updates == 0
        if first or self.real_student in ("first", "both"):
            teacher.follow(student)
        if not first:
            batches = self._batches(batch, further)
            keeping = _Keeping(
                self, student, teacher, optimiser, owner or teacher, trained or student
            )
            with watching.aside("look_ahead"):
                losses = self._virtual(step, batches, keeping)
        log = step(batch)
        self._count_pass(teacher)
        if first or self.real_student in ("last", "both"):
            teacher.follow(student)
        if self.ramp == "iteration":
            teacher.count()
        if losses:
            log["virtual/loss"] = torch.stack(losses).mean()
        return log

    def _virtual(
        self, step: Step[Item], batches: Iterator[Item], keeping: _Keeping
    ) -> list[Tensor]:
        """All virtual steps: the teacher has moved, the student is where it was."""
        losses = []
        total: list[Tensor] = []
        with keeping.student_state():
            for _ in range(self.steps):
                with keeping.one_step():
                    losses.append(step(next(batches))["loss"])
                self._count_pass(keeping.teacher)
                if self.mode == "deep":
                    keeping.teacher.follow(keeping.student)
                else:
                    _add(total, keeping.parameters)
                    keeping.return_student()
            if self.mode == "wide":
                _mean_into(keeping.parameters, total, self.steps)
                keeping.teacher.follow(keeping.student)
        return losses

    def _count_pass(self, teacher: EMATeacher) -> None:
        if self.ramp == "pass":
            teacher.count()

    def _batches(self, batch: Item, further: Iterable[Item]) -> Iterator[Item]:
        if self.mode == "deep":
            yield from [batch] * self.steps
            return
        given = 0
        for item in further:
            yield item
            given += 1
        raise ValueError(
            f'LookAhead(mode="wide", steps={self.steps}) needs {self.steps} further batches an '
            f"iteration and got {given}: set train_dataloader.dataset.further={self.steps} "
            "(tools/train.py does so), or pass them to training_step."
        )


class _Keeping:
    """What one iteration keeps aside, as the options say."""

    def __init__(
        self,
        options: LookAhead,
        student: nn.Module,
        teacher: EMATeacher,
        optimiser: torch.optim.Optimizer,
        owner: nn.Module,
        trained: nn.Module,
    ) -> None:
        self.options, self.student, self.teacher = options, student, teacher
        self.optimiser = optimiser
        self.parameters = [p for p in trained.parameters() if p.requires_grad]
        self._real = Snapshot(self.parameters)
        restored: list[Any] = []
        own = {id(buffer) for buffer in student.buffers()} | {id(teacher.iteration)}
        self._others = [b for b in owner.buffers() if id(b) not in own]
        if options.buffers_after == "restore":
            restored.append(Snapshot(student.buffers()))
        if options.optimiser_state == "restore":
            restored.append(OptimiserSnapshot(optimiser, self.parameters))
        self._restored = restored

    def return_student(self) -> None:
        """Put the student where it was, with its buffers and its optimiser's state."""
        for snapshot in (self._real, *self._restored):
            snapshot.put_back()

    @contextlib.contextmanager
    def student_state(self) -> Iterator[None]:
        """A block after which the student is where it was, also after an error."""
        try:
            yield
        finally:
            self.return_student()

    @contextlib.contextmanager
    def one_step(self) -> Iterator[None]:
        """One virtual step: learning rates, draws, and buffers of everything but the student.

        The others' buffers are put back before the teacher follows, which may average its own.
        """
        groups = self.optimiser.param_groups
        rates = [group["lr"] for group in groups]
        after: list[Any] = []
        if self.options.buffers_after == "restore":
            after.append(Snapshot(self._others))
        if self.options.random_state == "restore":
            after.append(RandomSnapshot(self.parameters[0].device))
        if self.options.learning_rate != 1.0:
            for group in groups:
                group["lr"] = group["lr"] * self.options.learning_rate
        try:
            yield
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
            for snapshot in after:
                snapshot.put_back()


@torch.no_grad()
def _add(total: list[Tensor], parameters: list[nn.Parameter]) -> None:
    if total:
        torch._foreach_add_(total, [p.detach() for p in parameters])
    else:
        total.extend(p.detach().clone() for p in parameters)


@torch.no_grad()
def _mean_into(parameters: list[nn.Parameter], total: list[Tensor], count: int) -> None:
    torch._foreach_div_(total, count)
    torch._foreach_copy_([p.detach() for p in parameters], total)


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} has to be one of {', '.join(known)}, not {value!r}.")
